//! The templates that are part of the program, so that a box needs no further file: `config/templates` as it was when this
//! program was made.

macro_rules! shipped {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../config/templates/", $name, ".yaml")),
        )
    };
}

/// Name and text of each template file; it has the one template of that name.
pub const TEMPLATES: &[(&str, &str)] = &[
    shipped!("carlo_gavazzi_em340"),
    shipped!("eastron_sdm120"),
    shipped!("eastron_sdm630"),
    shipped!("growatt_hybrid"),
    shipped!("schneider_iem3000"),
    shipped!("sunspec_inverter"),
    shipped!("sunspec_inverter_65"),
];

/// The text of the template file `name`.
pub(super) fn template(name: &str) -> Option<&'static str> {
    let (_, text) = TEMPLATES.iter().find(|(shipped, _)| *shipped == name)?;
    Some(text)
}
