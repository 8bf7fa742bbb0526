//! The database of one node: in memory or in a file, and images of it to be put back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harmonylite_sqlite::{OpenOptions, Store};
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use crate::application::Schema;
use crate::{Failure, Medium};

/// Names of databases in memory are of the whole process, and runs go on side by side.
static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// Databases in which our tables were just made, by schema, node and shards: making them takes longer than a short run.
    static FRESH: RefCell<BTreeMap<(Schema, u64, u16), Image>> = const { RefCell::new(BTreeMap::new()) };
}

/// A committed state of a database.
#[derive(Debug)]
pub(crate) struct Image(Connection);

#[derive(Debug)]
enum Place {
    Memory(String),
    File(PathBuf),
}

/// A database with the application's connection to it.
#[derive(Debug)]
pub(crate) struct Database {
    place: Place,
    app: Connection,
}

impl Database {
    /// The database of a node on which HarmonyLite was just started for the first time.
    pub(crate) fn fresh(
        medium: Medium,
        folder: &Path,
        schema: Schema,
        options: &OpenOptions,
    ) -> Result<Self, Failure> {
        let key = (schema, options.node_id.get(), options.shards);
        FRESH.with_borrow_mut(|known| {
            let image = match known.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(free) => free.insert(make_fresh(schema, options)?),
            };
            Self::of_image(medium, folder, image)
        })
    }

    fn of_image(medium: Medium, folder: &Path, image: &Image) -> Result<Self, Failure> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = match medium {
            Medium::Memory => Place::Memory(format!("sim-{number}")),
            Medium::Files => Place::File(folder.join(format!("{number}.db"))),
        };
        let mut app = connect(&place)?;
        copy(&image.0, &mut app)?;
        if medium == Medium::Files {
            app.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        }
        app.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 0")?;
        app.set_prepared_statement_cache_capacity(256);
        Ok(Self { place, app })
    }

    /// The application's connection.
    pub(crate) fn app(&self) -> &Connection {
        &self.app
    }

    /// Opens the store beside the application, as the product does.
    pub(crate) fn open_store(&self, options: &OpenOptions) -> Result<Store, Failure> {
        Ok(match &self.place {
            Place::Memory(name) => Store::open_in_memory(name, options)?,
            Place::File(path) => Store::open(path, options)?,
        })
    }

    /// The committed state now.
    pub(crate) fn image(&self) -> Result<Image, Failure> {
        let mut image = Connection::open_in_memory()?;
        copy(&self.app, &mut image)?;
        Ok(Image(image))
    }

    /// An earlier state is all that is left. Every other connection has to be gone.
    pub(crate) fn put_back(&mut self, image: &Image) -> Result<(), Failure> {
        let (medium, folder) = match &self.place {
            Place::Memory(_) => (Medium::Memory, PathBuf::new()),
            Place::File(path) => (Medium::Files, path.parent().map(Path::to_owned).unwrap_or_default()),
        };
        *self = Self::of_image(medium, &folder, image)?;
        Ok(())
    }
}

fn make_fresh(schema: Schema, options: &OpenOptions) -> Result<Image, Failure> {
    let place = Place::Memory(format!("sim-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    let app = connect(&place)?;
    app.execute_batch(&schema.sql())?;
    let database = Database { place, app };
    drop(database.open_store(options)?);
    database.image()
}

fn connect(place: &Place) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(match place {
        Place::Memory(name) => Connection::open_with_flags(Store::memory_uri(name), flags)?,
        Place::File(path) => Connection::open_with_flags(path, flags)?,
    })
}

fn copy(from: &Connection, to: &mut Connection) -> Result<(), Failure> {
    Backup::new(from, to)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
    Ok(())
}
