//! Tags that must be read in one request: those with `atomic`, and a value with the tag that `scale_from` names. Which
//! requests there are is decided in `adapter::plan`; this says what of a file cannot be planned so.

use super::dangling;
use super::tag::GroupDraft;
use crate::adapter::{GroupOptions, PlanError, TagOptions, plan};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::Place;
use crate::value::{Meaning, TagType};

/// What tags of one request have in common, because it is what makes a message.
const SETTINGS: &str = "give both the same topic, payload, qos, retain and interval";

/// Notes tags of a group that should be read together and cannot; `parts` is what became of the group.
pub(super) fn check(
    context: &mut Context<'_>,
    draft: &GroupDraft,
    parts: &[GroupOptions],
    max_registers: u16,
) {
    for part in parts {
        for tag in &part.tags {
            if let Some(factor) = &tag.scale_from {
                check_factor(context, draft, part, (tag, factor));
            }
        }
        let fault = plan::check(part, max_registers);
        // Whatever else cannot be planned is noted already.
        if let Err(PlanError::Tables { tag, .. } | PlanError::Apart { tag, .. }) = &fault
            && let Err(fault) = &fault
        {
            let remedy =
                "put them into groups of their own, or do without `atomic` or `scale_from`";
            context.error(
                Code::BadRegister,
                &place(draft, tag),
                fault.to_string(),
                remedy,
            );
        }
    }
    let mut atomic = parts
        .iter()
        .filter_map(|part| part.tags.iter().find(|tag| tag.atomic));
    if let (Some(first), Some(apart)) = (atomic.next(), atomic.next()) {
        let message = format!(
            "`{}` has other settings than `{}`, so it is read apart, and both are `atomic`",
            quoted(&apart.name),
            quoted(&first.name)
        );
        context.error(
            Code::Contradiction,
            &place(draft, &apart.name),
            message,
            SETTINGS,
        );
    }
}

fn check_factor(
    context: &mut Context<'_>,
    draft: &GroupDraft,
    part: &GroupOptions,
    (tag, factor): (&TagOptions, &str),
) {
    let place = place(draft, &tag.name).key("scale_from");
    if let Some(found) = part.tags.iter().find(|other| other.name == factor) {
        if !is_power(found) {
            let message = format!(
                "`{}` is no plain whole number, so no power of ten",
                quoted(factor)
            );
            let remedy = "let it be an int16 without scale, scale_from, enum and bits";
            context.error(Code::BadRegister, &place, message, remedy);
        }
        return;
    }
    match draft.tags.iter().find(|other| other.name == factor) {
        Some(other) if other.reading.is_some() => {
            let message = format!(
                "`{}` has other settings than `{}`, so it is read in another request",
                quoted(factor),
                quoted(&tag.name)
            );
            context.error(Code::Contradiction, &place, message, SETTINGS);
        }
        // What is wrong with it is noted already.
        Some(_) => {}
        None => {
            let known = draft.tags.iter().map(|tag| tag.name.as_str());
            dangling(context, "tag of the group", factor, &place, known);
        }
    }
}

#[allow(clippy::float_cmp, reason = "1.0 is exactly what stands for none")]
fn is_power(tag: &TagOptions) -> bool {
    let whole = !matches!(
        tag.kind,
        TagType::Bool | TagType::Float32 | TagType::Float64 | TagType::Text(_)
    );
    whole && tag.scale == 1.0 && tag.scale_from.is_none() && tag.meaning == Meaning::Number
}

fn place(draft: &GroupDraft, tag: &str) -> Place {
    let tag = draft.tags.iter().find(|draft| draft.name == tag);
    tag.map_or(&draft.place, |tag| &tag.place).clone()
}
