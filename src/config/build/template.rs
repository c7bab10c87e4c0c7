//! `templates:`: register maps that devices use by name.
//!
//! A name is looked for in the file and in `templates/*.yaml` beside it, which are one list: the same name twice is a
//! fault. What is in neither is looked for among those that are shipped, so a user's own replaces a shipped one. All of
//! the user's are checked, also those that no device uses; a shipped one is read when a device names it.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::asking::{Asking, asking};
use super::tag::{GroupDraft, Publication, REGISTERS_MAX, Said, groups, publication};
use super::{Names, below, dangling, qos, time};
use crate::config::context::Context;
use crate::config::place::Place;
use crate::config::raw;
use crate::config::section::Section;
use crate::config::shipped;

/// The folder beside the file.
const FOLDER: &str = "templates";
/// The most files in it.
const FILES_MAX: usize = 200;

/// What a device may say of itself but for its name, connection and unit.
pub(super) struct Template {
    pub(super) publication: Publication,
    pub(super) asking: Asking,
    pub(super) groups: Vec<GroupDraft>,
}

/// The templates by name: the user's own, and of those that are shipped what was asked for.
#[derive(Default)]
pub(super) struct Templates {
    read: BTreeMap<String, Template>,
    names: Names,
}

impl Templates {
    /// The user's own.
    pub(super) fn read(context: &mut Context<'_>, root: &Section<raw::Root>) -> Self {
        let mut templates = Self::default();
        templates.add(context, root.raw.templates.as_ref(), &root.at("templates"));
        let folder = context.folder.join(FOLDER);
        for (file, text) in context.yaml_files(&folder, FILES_MAX) {
            templates.add_text(context, file, text);
        }
        templates
    }

    fn add_text(&mut self, context: &mut Context<'_>, file: Rc<Path>, text: String) {
        let root = Place::root_of(Rc::clone(&file));
        let Some(document) = context.document(file, text, root.clone()) else {
            return;
        };
        if document != Value::Null {
            let section = Section::<raw::TemplateFile>::read(context, &document, root);
            let place = section.at("templates");
            self.add(context, section.raw.templates.as_ref(), &place);
        }
    }

    fn add(&mut self, context: &mut Context<'_>, list: Option<&Mapping>, place: &Place) {
        for (name, value) in list.into_iter().flatten() {
            let Some(name) = name.as_str() else { continue };
            let place = place.key(name);
            if !self.names.take(context, "template", name, &place) {
                continue;
            }
            let section = Section::<raw::Template>::read(context, value, place);
            let template = Template {
                publication: publication!(context, section),
                asking: asking!(context, section),
                groups: groups(context, section.raw.groups.as_ref(), &section.at("groups")),
            };
            self.read.insert(name.to_owned(), template);
        }
    }

    /// The template that the device names.
    pub(super) fn of(
        &mut self,
        context: &mut Context<'_>,
        device: &Section<raw::Device>,
    ) -> Option<&Template> {
        let name = device.raw.template.as_ref()?;
        if !self.read.contains_key(name) {
            match shipped::template(name) {
                Some(text) => {
                    let file = Path::new("shipped template").join(name);
                    self.add_text(context, file.into(), text.to_owned());
                }
                None => {
                    let own = self.read.keys().map(String::as_str);
                    let known = own.chain(shipped::TEMPLATES.iter().map(|(name, _)| *name));
                    dangling(context, "template", name, &device.at("template"), known);
                }
            }
        }
        self.read.get(name)
    }
}
