//! The records: VMs, images and the ledger, in one SQLite file. All SQL is here.
//!
//! The file is in WAL mode with `synchronous = NORMAL`: a commit survives a killed daemon; a power
//! cut can lose the last commits, but it also takes every kernel object with it, and files that
//! were made since are found by the inventory.

use crate::error::EngineError;
use banger_core::id::{ImageId, OpId, VmId};
use banger_core::image::ImageRecord;
use banger_core::resource::{Resource, ResourceKey};
use banger_core::vm::Vm;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Each is applied once, in order; `PRAGMA user_version` counts them. Never edit one that was
/// released: append.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE vm (
        id     TEXT PRIMARY KEY,
        name   TEXT NOT NULL UNIQUE,
        ip     TEXT NOT NULL UNIQUE,
        record TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ledger (
        key      TEXT PRIMARY KEY,
        vm       TEXT,
        op       TEXT NOT NULL,
        resource TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ledger_vm ON ledger (vm);
",
    "
    UPDATE ledger SET key = 'instance/firewall' WHERE key = 'instance/nat_table';
",
    // Until now each VM had a copy of its image. Of the images with one name the newest keeps it: it
    // is the bundle's. Another bundle's has its id behind it, for its VMs go on with their files.
    "
    CREATE TABLE image (
        id     TEXT PRIMARY KEY,
        name   TEXT NOT NULL UNIQUE,
        record TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TEMP TABLE copied AS
        SELECT json_extract(record, '$.image') AS image,
               json_extract(record, '$.image.name') AS name,
               max(json_extract(record, '$.created_at')) AS made,
               '' AS id
        FROM vm GROUP BY 1;
    UPDATE copied SET id =
        substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + (random() & 31), 1) ||
        substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + (random() & 31), 1) ||
        substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + (random() & 31), 1) ||
        substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + (random() & 31), 1) ||
        substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + (random() & 31), 1) ||
        substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + (random() & 31), 1) ||
        substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + (random() & 31), 1) ||
        substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + (random() & 31), 1);
    CREATE TEMP TABLE ranked AS
        SELECT *, row_number() OVER (PARTITION BY name ORDER BY made DESC, id) AS nth,
                  row_number() OVER (ORDER BY made DESC, id) AS nth_of_all
        FROM copied;
    INSERT INTO image (id, name, record)
        SELECT id, called, json_object(
            'id', id, 'name', called, 'kind', 'unmanaged',
            'origin', CASE nth_of_all WHEN 1 THEN 'bundle' ELSE 'registered' END,
            'boot', json_object('kernel', json_extract(image, '$.kernel'),
                                'initrd', json_extract(image, '$.initrd')),
            'rootfs', json_extract(image, '$.rootfs'),
            'boot_args', json(coalesce(json_extract(image, '$.boot_args'), '[]')),
            'created_at', made)
        FROM (SELECT *, CASE nth WHEN 1 THEN name
                        ELSE rtrim(substr(name, 1, 54), '-') || '-' || id END AS called
              FROM ranked);
    UPDATE vm SET record = json_set(record, '$.image',
        (SELECT id FROM copied WHERE image = json_extract(vm.record, '$.image')));
    DROP TABLE ranked;
    DROP TABLE copied;
",
];

/// The open records.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Mutex<Connection>,
}

/// What came of writing a record.
#[derive(Debug)]
pub(crate) enum Insert {
    /// It has one now.
    Done,
    /// Its name or its address is another's.
    Conflict,
}

fn failed(action: &'static str) -> impl Fn(rusqlite::Error) -> EngineError {
    move |source| EngineError::Store { action, source }
}

fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("records have string keys and finite numbers only")
}

fn from_json<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, EngineError> {
    serde_json::from_str(text)
        .map_err(|source| EngineError::Damaged { what: what.to_owned(), source })
}

fn unless_conflict(written: rusqlite::Result<usize>) -> Result<Insert, EngineError> {
    match written {
        Ok(_) => Ok(Insert::Done),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Ok(Insert::Conflict)
        }
        Err(error) => Err(failed("write")(error)),
    }
}

impl Store {
    /// Opens the file, creating and migrating it as needed. It holds host keys, so it is made
    /// readable by its owner alone; SQLite gives its journal the same mode.
    pub(crate) fn open(path: &Path) -> Result<Self, EngineError> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(|source| {
            EngineError::File { action: "open", path: path.to_owned(), source }
        })?;
        let connection = Connection::open(path).map_err(failed("open"))?;
        Self::prepare(connection)
    }

    fn prepare(mut connection: Connection) -> Result<Self, EngineError> {
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = NORMAL;
                 PRAGMA cache_size = -1024;",
            )
            .map_err(failed("open"))?;
        migrate(&mut connection)?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// A panic while the lock was held leaves the connection usable: SQLite rolls back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All VMs, in order of their names.
    pub(crate) fn load_vms(&self) -> Result<Vec<Vm>, EngineError> {
        self.load("vm", "SELECT id, record FROM vm ORDER BY name")
    }

    /// Writes the record of a new VM.
    pub(crate) fn insert_vm(&self, vm: &Vm) -> Result<Insert, EngineError> {
        let inserted = self.lock().execute(
            "INSERT INTO vm (id, name, ip, record) VALUES (?1, ?2, ?3, ?4)",
            params![vm.id.as_str(), vm.name.as_str(), vm.identity.ip.to_string(), to_json(vm)],
        );
        unless_conflict(inserted)
    }

    /// All images, in order of their names.
    pub(crate) fn load_images(&self) -> Result<Vec<ImageRecord>, EngineError> {
        self.load("image", "SELECT id, record FROM image ORDER BY name")
    }

    /// Writes an image's record, in place of the one that it has, if it has one.
    pub(crate) fn save_image(&self, image: &ImageRecord) -> Result<Insert, EngineError> {
        let written = self.lock().execute(
            "INSERT INTO image (id, name, record) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET name = ?2, record = ?3",
            params![image.id.as_str(), image.name.as_str(), to_json(image)],
        );
        unless_conflict(written)
    }

    /// Removes an image's record.
    pub(crate) fn remove_image(&self, image: &ImageId) -> Result<(), EngineError> {
        self.lock()
            .execute("DELETE FROM image WHERE id = ?1", params![image.as_str()])
            .map_err(failed("write"))?;
        Ok(())
    }

    fn load<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        sql: &str,
    ) -> Result<Vec<T>, EngineError> {
        let read = failed("read");
        let connection = self.lock();
        let mut statement = connection.prepare(sql).map_err(&read)?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
            .map_err(&read)?;
        rows.map(|row| {
            let (id, record) = row.map_err(&read)?;
            from_json(&format!("{what}/{id}"), &record)
        })
        .collect()
    }

    /// Writes the record of a VM that has one.
    pub(crate) fn save_vm(&self, vm: &Vm) -> Result<(), EngineError> {
        self.lock()
            .execute(
                "UPDATE vm SET record = ?2 WHERE id = ?1",
                params![vm.id.as_str(), to_json(vm)],
            )
            .map_err(failed("write"))?;
        Ok(())
    }

    /// Removes a VM's record.
    pub(crate) fn remove_vm(&self, vm: &VmId) -> Result<(), EngineError> {
        self.lock()
            .execute("DELETE FROM vm WHERE id = ?1", params![vm.as_str()])
            .map_err(failed("write"))?;
        Ok(())
    }

    /// Writes rows for resources that are about to be put in place, in one transaction. Returns
    /// the keys that had no row before: what the operation adds.
    pub(crate) fn enter(
        &self,
        op: &OpId,
        resources: &[Resource],
    ) -> Result<Vec<ResourceKey>, EngineError> {
        let write = failed("write");
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(&write)?;
        let mut added = Vec::new();
        {
            let mut exists = transaction
                .prepare_cached("SELECT 1 FROM ledger WHERE key = ?1")
                .map_err(&write)?;
            let mut insert = transaction
                .prepare_cached(
                    "INSERT INTO ledger (key, vm, op, resource) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (key) DO UPDATE SET op = ?3, resource = ?4",
                )
                .map_err(&write)?;
            for resource in resources {
                let key = resource.key();
                if !exists.exists([key.to_string()]).map_err(&write)? {
                    added.push(key.clone());
                }
                let vm = key.vm().map(VmId::as_str);
                insert
                    .execute(params![key.to_string(), vm, op.as_str(), to_json(resource)])
                    .map_err(&write)?;
            }
        }
        transaction.commit().map_err(&write)?;
        Ok(added)
    }

    /// Removes the rows of resources that are gone, in one transaction.
    pub(crate) fn strike(&self, keys: &[ResourceKey]) -> Result<(), EngineError> {
        let write = failed("write");
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(&write)?;
        {
            let mut delete =
                transaction.prepare_cached("DELETE FROM ledger WHERE key = ?1").map_err(&write)?;
            for key in keys {
                delete.execute([key.to_string()]).map_err(&write)?;
            }
        }
        transaction.commit().map_err(&write)
    }

    /// What the ledger has for a VM.
    pub(crate) fn recorded(&self, vm: &VmId) -> Result<Vec<Resource>, EngineError> {
        self.resources("SELECT key, resource FROM ledger WHERE vm = ?1", params![vm.as_str()])
    }

    /// Everything in the ledger.
    pub(crate) fn ledger(&self) -> Result<Vec<Resource>, EngineError> {
        self.resources("SELECT key, resource FROM ledger ORDER BY key", params![])
    }

    /// How much is in the ledger.
    pub(crate) fn ledger_size(&self) -> Result<usize, EngineError> {
        let count = self
            .lock()
            .query_row("SELECT count(*) FROM ledger", params![], |row| row.get::<_, u32>(0));
        Ok(count.map_err(failed("read"))?.try_into().unwrap_or(usize::MAX))
    }

    fn resources(
        &self,
        sql: &str,
        parameters: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<Resource>, EngineError> {
        let read = failed("read");
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql).map_err(&read)?;
        let rows = statement
            .query_map(parameters, |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
            .map_err(&read)?;
        rows.map(|row| {
            let (key, resource) = row.map_err(&read)?;
            from_json(&key, &resource)
        })
        .collect()
    }
}

fn migrate(connection: &mut Connection) -> Result<(), EngineError> {
    let migrate = failed("migrate");
    let transaction = connection.transaction().map_err(&migrate)?;
    let version: Option<i64> = transaction
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .optional()
        .map_err(&migrate)?;
    let found = version.unwrap_or(0);
    let known = i64::try_from(MIGRATIONS.len()).expect("few migrations");
    let Some(pending) = usize::try_from(found).ok().and_then(|done| MIGRATIONS.get(done..)) else {
        return Err(EngineError::NewerStore { found, known });
    };
    for migration in pending {
        transaction.execute_batch(migration).map_err(&migrate)?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(&migrate)?;
    transaction.commit().map_err(&migrate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::image::{ImageKind, ImageOrigin};
    use banger_core::resource::Role;
    use banger_core::vm::UnixMillis;
    use std::os::unix::fs::PermissionsExt;

    fn store() -> Store {
        Store::prepare(Connection::open_in_memory().unwrap()).unwrap()
    }

    fn dir(n: u64) -> Resource {
        let vm = VmId::from_entropy(n);
        Resource::VmDir { path: format!("/v/{vm}").into(), vm }
    }

    #[test]
    fn entering_tells_what_is_new() {
        let (store, op) = (store(), OpId::from_entropy(1));
        assert_eq!(store.enter(&op, &[dir(1)]).unwrap(), [dir(1).key()]);
        assert_eq!(store.enter(&op, &[dir(1), dir(2)]).unwrap(), [dir(2).key()]);
        assert_eq!(store.recorded(&VmId::from_entropy(2)).unwrap(), [dir(2)]);
        store.strike(&[dir(1).key()]).unwrap();
        assert_eq!(store.ledger().unwrap(), [dir(2)]);
        assert_eq!(dir(1).key().role(), Role::VmDir);
    }

    #[test]
    fn records_of_a_newer_banger_are_refused_and_kept() {
        let connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let error = Store::prepare(connection).unwrap_err();
        assert_eq!(error.to_string(), "the records have version 99, and this banger knows up to 3");
    }

    #[test]
    fn the_nat_table_of_an_older_banger_is_struck_as_the_firewall() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        let resource = r#"{"kind":"nat_table","table":"banger_v3r02","bridge":"banger0",
            "subnet":"172.16.0.1/24","guests":["172.16.0.2"]}"#;
        connection
            .execute(
                "INSERT INTO ledger (key, op, resource) VALUES ('instance/nat_table', 'op', ?1)",
                [resource],
            )
            .unwrap();
        let store = Store::prepare(connection).unwrap();
        let found = store.ledger().unwrap();
        assert_eq!(found.iter().map(Resource::key).collect::<Vec<_>>(), [ResourceKey::FIREWALL]);
        assert_eq!(store.enter(&OpId::from_entropy(1), &found).unwrap(), []);
        store.strike(&[ResourceKey::FIREWALL]).unwrap();
        assert_eq!(store.ledger().unwrap(), []);
    }

    /// The record of a VM of a banger whose VMs had copies of their images, as far as it matters.
    fn old_vm(name: &str, kernel: &str, made: i64) -> String {
        format!(
            r#"{{"name":"{name}","image":{{"name":"default","kernel":"{kernel}","initrd":"/b/initrd",
                "rootfs":"/b/rootfs","boot_args":["quiet"]}},"created_at":{made},"nat":true}}"#
        )
    }

    #[test]
    fn the_images_of_an_older_banger_become_records_that_its_vms_refer_to() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection.execute_batch(MIGRATIONS[1]).unwrap();
        connection.pragma_update(None, "user_version", 2).unwrap();
        for (name, kernel, made) in [("a", "/old/k", 1), ("b", "/new/k", 2), ("c", "/new/k", 3)] {
            connection
                .execute(
                    "INSERT INTO vm (id, name, ip, record) VALUES (?1, ?1, ?1, ?2)",
                    params![name, old_vm(name, kernel, made)],
                )
                .unwrap();
        }
        let store = Store::prepare(connection).unwrap();
        let images = store.load_images().unwrap();
        let [newest, older] = images.as_slice() else { panic!("two of them: {images:?}") };
        let kernel = |image: &ImageRecord| image.boot.clone().unwrap().kernel;
        assert_eq!(newest.name.as_str(), "default");
        assert_eq!(older.name.as_str(), format!("default-{}", older.id));
        assert_eq!((kernel(newest), kernel(older)), ("/new/k".into(), "/old/k".into()));
        assert_eq!(newest.origin, ImageOrigin::Bundle);
        assert_eq!(older.origin, ImageOrigin::Registered);
        assert_eq!(newest.boot_args, ["quiet"]);
        let vms: Vec<serde_json::Value> = store.load("vm", "SELECT id, record FROM vm").unwrap();
        let refers = |vm: &serde_json::Value| vm["image"].as_str().unwrap().to_owned();
        assert_eq!(
            vms.iter().map(refers).collect::<Vec<_>>(),
            [&older.id, &newest.id, &newest.id].map(ToString::to_string)
        );
        assert_eq!(vms[0]["nat"], serde_json::Value::Bool(true));
    }

    #[test]
    fn an_images_name_is_its_own() {
        let store = store();
        let image = |n, name: &str| ImageRecord {
            id: ImageId::from_entropy(n),
            name: name.parse().unwrap(),
            kind: ImageKind::Unmanaged,
            origin: ImageOrigin::Registered,
            boot: None,
            rootfs: "/r".into(),
            boot_args: Vec::new(),
            size: None,
            digest: None,
            created_at: UnixMillis(0),
        };
        let saved = |image| matches!(store.save_image(&image).unwrap(), Insert::Done);
        assert!(saved(image(1, "one")) && saved(image(2, "two")) && saved(image(1, "three")));
        assert!(!saved(image(1, "two")));
        store.remove_image(&ImageId::from_entropy(2)).unwrap();
        assert_eq!(store.load_images().unwrap(), [image(1, "three")]);
    }

    #[test]
    fn a_store_opens_again_with_what_it_had() {
        let dir_path = tempfile::tempdir().unwrap();
        let path = dir_path.path().join("state.db");
        let op = OpId::from_entropy(1);
        Store::open(&path).unwrap().enter(&op, &[dir(1)]).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Store::open(&path).unwrap().ledger().unwrap(), [dir(1)]);
    }
}
