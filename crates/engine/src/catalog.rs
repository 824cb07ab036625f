//! The images that have records: which there are, which is the default, and what is being done to
//! them.
//!
//! A change is written first and seen then, both under one lock.

use crate::error::{EngineError, ImageError};
use crate::shared::entropy;
use crate::store::{Insert, Store};
use banger_core::id::ImageId;
use banger_core::image::{ImageOrigin, ImageRecord};
use banger_core::reference::resolve;
use banger_core::vm_name::ImageName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All records of images.
#[derive(Debug)]
pub(crate) struct Catalog {
    store: Arc<Store>,
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    records: BTreeMap<ImageId, ImageRecord>,
    /// Names of images that are being made.
    reserved: BTreeSet<ImageName>,
    /// Images whose files are being copied.
    claimed: BTreeSet<ImageId>,
}

impl Content {
    /// Refuses a name that an image has, or will have, other than the one with this id.
    fn check_free(&self, name: &ImageName, own: Option<&ImageId>) -> Result<(), ImageError> {
        if self.reserved.contains(name) {
            return Err(ImageError::BeingMade { name: name.clone() });
        }
        let has_it = |record: &ImageRecord| record.name == *name && Some(&record.id) != own;
        match self.records.values().any(has_it) {
            true => Err(ImageError::NameTaken { name: name.clone() }),
            false => Ok(()),
        }
    }

    fn default(&self) -> Option<&ImageRecord> {
        self.records.values().find(|record| record.origin == ImageOrigin::Bundle)
    }
}

impl Catalog {
    /// Reads the records.
    pub(crate) fn open(store: Arc<Store>) -> Result<Self, EngineError> {
        let all = store.load_images()?.into_iter().map(|image| (image.id.clone(), image));
        let content = Content { records: all.collect(), ..Default::default() };
        Ok(Self { store, content: Mutex::new(content) })
    }

    /// A panic under the lock leaves the content whole: each change is one call.
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All images, in order of their names.
    pub(crate) fn list(&self) -> Vec<ImageRecord> {
        let mut all: Vec<ImageRecord> = self.lock().records.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// One image.
    pub(crate) fn get(&self, id: &ImageId) -> Option<ImageRecord> {
        self.lock().records.get(id).cloned()
    }

    /// The image that a reference names.
    pub(crate) fn find(&self, reference: &str) -> Result<ImageRecord, EngineError> {
        let content = self.lock();
        let all = content.records.iter().map(|(id, record)| (id, &record.name));
        let id = resolve("image", reference, all).map_err(ImageError::Reference)?;
        Ok(content.records[id].clone())
    }

    /// The image with exactly this name.
    pub(crate) fn called(&self, name: &ImageName) -> Result<ImageRecord, EngineError> {
        let found = self.lock().records.values().find(|record| record.name == *name).cloned();
        Ok(found.ok_or_else(|| ImageError::Unknown { name: name.clone() })?)
    }

    /// The image that came from the bundle.
    pub(crate) fn default(&self) -> Option<ImageRecord> {
        self.lock().default().cloned()
    }

    /// What an image is called. An image that VMs refer to has a record; where it was lost, the id
    /// has to do.
    pub(crate) fn name_of(&self, id: &ImageId) -> ImageName {
        let name = self.lock().records.get(id).map(|record| record.name.clone());
        name.unwrap_or_else(|| id.as_str().parse().expect("an id has the characters of a name"))
    }

    /// Sets a name apart for an image that is being made, until the result is dropped.
    pub(crate) fn reserve(self: &Arc<Self>, name: &ImageName) -> Result<Reserved, EngineError> {
        let mut content = self.lock();
        content.check_free(name, None)?;
        content.reserved.insert(name.clone());
        Ok(Reserved { catalog: Arc::clone(self), name: name.clone() })
    }

    /// An id that no image has.
    pub(crate) fn new_id(&self) -> Result<ImageId, EngineError> {
        loop {
            let id = ImageId::from_entropy(entropy()?);
            if self.get(&id).is_none() {
                return Ok(id);
            }
        }
    }

    /// Writes the record of an image whose name was set apart.
    pub(crate) fn insert(
        &self,
        reserved: &Reserved,
        record: ImageRecord,
    ) -> Result<(), EngineError> {
        debug_assert_eq!(reserved.name, record.name);
        self.write(&mut self.lock(), record)
    }

    /// Sets an image apart whose files are being copied, until the result is dropped.
    pub(crate) fn claim(self: &Arc<Self>, id: &ImageId) -> Result<Claimed, EngineError> {
        let mut content = self.lock();
        let Some(record) = content.records.get(id).cloned() else {
            return Err(EngineError::Gone);
        };
        if !content.claimed.insert(id.clone()) {
            return Err(ImageError::BeingCopied { name: record.name }.into());
        }
        Ok(Claimed { catalog: Arc::clone(self), record })
    }

    /// Replaces the record of an image that was set apart. A new name does not matter; anything else
    /// that has changed meanwhile is not in the copies.
    pub(crate) fn replace(
        &self,
        claimed: &Claimed,
        record: ImageRecord,
    ) -> Result<(), EngineError> {
        let mut content = self.lock();
        let Some(now) = content.records.get(&record.id) else { return Err(EngineError::Gone) };
        let name = now.name.clone();
        if (ImageRecord { name: claimed.record.name.clone(), ..now.clone() }) != claimed.record {
            return Err(ImageError::Moved { name }.into());
        }
        self.write(&mut content, ImageRecord { name, ..record })
    }

    /// Makes the bundle's image follow the bundle, or gives it its record. `change` sees the record
    /// that there is, and returns the one that there should be.
    pub(crate) fn update_default(
        &self,
        change: impl FnOnce(Option<ImageRecord>) -> Result<ImageRecord, EngineError>,
    ) -> Result<ImageRecord, EngineError> {
        let mut content = self.lock();
        let before = content.default().cloned();
        let mut after = change(before.clone())?;
        if before.as_ref() != Some(&after) {
            if content.check_free(&after.name, Some(&after.id)).is_err() {
                // Only one that is new can have the name of another.
                after.name = numbered(&after.id);
            }
            self.write(&mut content, after.clone())?;
        }
        Ok(after)
    }

    /// Makes the bundle's image one of its own, whose files are where they are, so that another can
    /// follow the bundle. The name goes with the bundle.
    pub(crate) fn part_from_bundle(&self, id: &ImageId) -> Result<(), EngineError> {
        let mut content = self.lock();
        let Some(record) = content.records.get(id).cloned() else {
            return Err(EngineError::Gone);
        };
        let name = numbered(id);
        tracing::warn!(image_id = %id, was = %record.name, %name, "VMs need the old bundle's files");
        let origin = ImageOrigin::Registered;
        self.write(&mut content, ImageRecord { name, origin, ..record })
    }

    /// Gives an image another name.
    pub(crate) fn rename(&self, id: &ImageId, name: ImageName) -> Result<(), EngineError> {
        let mut content = self.lock();
        content.check_free(&name, Some(id))?;
        let Some(record) = content.records.get(id).cloned() else {
            return Err(EngineError::Gone);
        };
        self.write(&mut content, ImageRecord { name, ..record })
    }

    /// Removes an image's record.
    pub(crate) fn remove(&self, id: &ImageId) -> Result<(), EngineError> {
        let mut content = self.lock();
        self.store.remove_image(id)?;
        content.records.remove(id);
        Ok(())
    }

    fn write(&self, content: &mut Content, record: ImageRecord) -> Result<(), EngineError> {
        if let Insert::Conflict = self.store.save_image(&record)? {
            return Err(ImageError::NameTaken { name: record.name }.into());
        }
        content.records.insert(record.id.clone(), record);
        Ok(())
    }
}

/// What an image from a bundle is called where the bundle's own name is another image's.
fn numbered(id: &ImageId) -> ImageName {
    format!("bundle-{id}").parse().expect("a word and an id are a name")
}

/// A name that no other image gets while this is held.
#[derive(Debug)]
pub(crate) struct Reserved {
    catalog: Arc<Catalog>,
    name: ImageName,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.catalog.lock().reserved.remove(&self.name);
    }
}

/// An image whose files nobody else copies while this is held.
#[derive(Debug)]
pub(crate) struct Claimed {
    catalog: Arc<Catalog>,
    record: ImageRecord,
}

impl Claimed {
    /// The image as it was then.
    pub(crate) fn record(&self) -> &ImageRecord {
        &self.record
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.catalog.lock().claimed.remove(&self.record.id);
    }
}
