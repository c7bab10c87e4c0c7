//! From which file each part of the whole comes. Sections and lists of several files are read as one tree, whose places are
//! those of the whole; a fault, and a relative path, belong to the file that says them. No I/O.

use std::collections::BTreeMap;

use super::place::Place;

/// The places of the whole that come from another file, each with its place there. What is below one comes from there
/// too, unless it is here itself.
#[derive(Debug, Default)]
pub(super) struct Origins(BTreeMap<Place, Place>);

impl Origins {
    /// What is at `whole` comes from `there`.
    pub(super) fn insert(&mut self, whole: Place, there: Place) {
        self.0.insert(whole, there);
    }

    /// Where `place` stands in its own file. A place of another file stands there already.
    pub(super) fn of(&self, place: &Place) -> Place {
        let mut above = place.clone();
        while place.file().is_none() && !self.0.is_empty() {
            if let Some(origin) = self.0.get(&above) {
                let below = place.steps().get(above.steps().len()..);
                return origin.below(below.unwrap_or_default());
            }
            match above.parent() {
                Some(parent) => above = parent,
                None => break,
            }
        }
        place.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn what_is_below_comes_from_where_the_nearest_above_does() {
        let (root, there) = (Place::default(), Place::root_of(Rc::from(Path::new("a"))));
        let mut origins = Origins::default();
        let devices = root.key("devices");
        assert_eq!(origins.of(&devices), devices);
        origins.insert(devices.index(2), there.key("devices").index(0));
        origins.insert(root.key("store"), there.key("store"));
        let of = |place: &Place| origins.of(place).to_string();
        assert_eq!(of(&devices.index(1).key("name")), "devices[1].name");
        assert_eq!(of(&devices.index(2).key("name")), "a: devices[0].name");
        assert_eq!(of(&root.key("store").key("x")), "a: store.x");
        assert_eq!(of(&there.key("store")), "a: store");
        assert_eq!(of(&root), "");
    }
}
