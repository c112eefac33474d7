//! The plugins in registries that workloads use: those that name the same one have one place, which is asked once.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::registry_access::RegistryAccess;
use super::registry_place::RegistryPlace;
use crate::config::OciConfig;

/// The places of plugins in registries, by name.
pub(super) struct RegistryPlaces {
    access: Arc<RegistryAccess>,
    places: BTreeMap<String, Weak<RegistryPlace>>,
}

impl RegistryPlaces {
    pub(super) fn new(config: &OciConfig) -> Self {
        Self { access: RegistryAccess::new(config), places: BTreeMap::new() }
    }

    /// That of the plugin with this name, if it is one in a registry.
    pub(super) fn of(&mut self, name: &str) -> Option<Arc<RegistryPlace>> {
        self.places.retain(|_, place| place.strong_count() > 0);
        if let Some(place) = self.places.get(name).and_then(Weak::upgrade) {
            return Some(place);
        }
        let place = RegistryPlace::of(name, &self.access)?;
        self.places.insert(name.to_owned(), Arc::downgrade(&place));
        Some(place)
    }
}
