//! Databases that cannot be used: a clear error of the right kind, a hint, and nothing changed.
//!
//! Where the operating system must refuse (permissions, mounts, a full disk), this test binary runs itself again in
//! such a place: root may read everything.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use harmonylite_sqlite::{Store, StoreErrorKind, plan};
use tempfile::TempDir;

use crate::applications::output;
use crate::support::{Database, options, query};

const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'kept')";

/// Names the database for [`opens_in_another_process`].
const CHILD_DATABASE: &str = "CAPTURE_TEST_DATABASE";

fn kind_of(path: &Path) -> StoreErrorKind {
    let error = Store::open(path, &options()).unwrap_err();
    assert!(error.message.contains(path.to_str().unwrap()), "the message says where: {error}");
    assert!(error.hint.is_some(), "{error:?}");
    error.kind
}

#[test]
fn a_missing_database_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["missing.db", "no/such/directory.db"] {
        let path = directory.path().join(name);
        assert_eq!(kind_of(&path), StoreErrorKind::Missing);
        assert_eq!(plan(&path).unwrap_err().kind, StoreErrorKind::Missing);
        assert!(!path.exists());
    }
    let dangling = directory.path().join("link.db");
    symlink(directory.path().join("gone.db"), &dangling).unwrap();
    assert_eq!(kind_of(&dangling), StoreErrorKind::Missing);
}

#[test]
fn what_is_not_an_sqlite_database_is_refused_untouched() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(kind_of(directory.path()), StoreErrorKind::NotADatabase);
    let path = directory.path().join("notes.db");
    // Encrypted databases look like noise from their first byte on.
    let noise: Vec<u8> = (0..8192u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for content in [b"just some text, long enough to be looked at\n".repeat(40), noise, vec![b'x'; 7]] {
        std::fs::write(&path, &content).unwrap();
        assert_eq!(kind_of(&path), StoreErrorKind::NotADatabase);
        assert_eq!(plan(&path).unwrap_err().kind, StoreErrorKind::NotADatabase);
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_damaged_database_is_an_error_not_a_panic() {
    let mut database = Database::bare(TABLE);
    database.close();
    let mut bytes = std::fs::read(database.path()).unwrap();
    bytes[100..].fill(0xff);
    std::fs::write(database.path(), &bytes).unwrap();
    assert_eq!(kind_of(&database.path()), StoreErrorKind::InputOutput);
}

#[test]
fn a_path_that_looks_like_a_uri_is_a_path() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("file:x?mode=memory");
    rusqlite::Connection::open(directory.path().join("x")).unwrap().execute_batch(TABLE).unwrap();
    std::fs::rename(directory.path().join("x"), &inner).unwrap();
    assert_eq!(Store::open(&inner, &options()).unwrap().opened_schema().tables.len(), 1);
}

#[test]
fn an_application_that_holds_the_write_lock_is_waited_for() {
    let database = Database::bare(TABLE);
    database.run("BEGIN IMMEDIATE; INSERT INTO t VALUES(2, 'x')");
    let (path, (started, start)) = (database.path(), std::sync::mpsc::channel());
    let opening = std::thread::spawn(move || {
        started.send(()).unwrap();
        Store::open(&path, &options()).map(|store| store.opened_schema().repaired)
    });
    start.recv().unwrap();
    // The store waits by now, or will find the lock free: it must open either way.
    database.run("COMMIT");
    assert!(opening.join().unwrap().unwrap() > 0);
}

#[test]
fn an_application_that_never_lets_go_of_the_write_lock_is_named_as_the_cause() {
    let database = Database::bare(TABLE);
    database.run("BEGIN IMMEDIATE");
    let error = database.try_open().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Busy);
    assert!(error.is_busy() && error.message.contains("app.db"), "{error}");
}

fn is_refused_as_exclusive(settings: &str) {
    let database = Database::with_settings(settings, TABLE);
    let error = database.try_open().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Exclusive, "{error}");
    assert!(error.hint.unwrap().contains("locking_mode"));
}

#[test]
fn exclusive_locking_mode_is_refused_with_its_name() {
    is_refused_as_exclusive("PRAGMA locking_mode = EXCLUSIVE");
}

#[test]
fn exclusive_locking_mode_with_a_wal_is_refused_with_its_name() {
    is_refused_as_exclusive("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL");
}

/// What [`opens_in_another_process`] prints before its answer.
const ANSWER: &str = "the store says: ";

/// Run by the tests below as a process of its own; run by itself it opens an ordinary database.
#[test]
fn opens_in_another_process() {
    let Some(path) = std::env::var_os(CHILD_DATABASE).map(PathBuf::from) else {
        Database::bare(TABLE).open();
        return;
    };
    match Store::open(&path, &options()) {
        Ok(_) => println!("\n{ANSWER}opened"),
        Err(error) => println!("\n{ANSWER}{:?}", error.kind),
    }
}

/// A copy of this test binary that any user can run, and a database beside it that anybody may write.
struct Place {
    directory: TempDir,
    database: PathBuf,
    program: PathBuf,
}

impl Place {
    fn new(journal_mode: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("test-binary");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let place = directory.path().join("data");
        std::fs::create_dir(&place).unwrap();
        let database = place.join("app.db");
        let application = rusqlite::Connection::open(&database).unwrap();
        application.execute_batch(&format!("PRAGMA journal_mode = {journal_mode}; {TABLE}")).unwrap();
        drop(application);
        let this = Self { directory, database, program };
        this.permit(this.directory.path(), 0o755);
        this.permit(&place, 0o777);
        this.permit(&this.database, 0o666);
        this
    }

    fn permit(&self, path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn data(&self) -> &Path {
        self.database.parent().unwrap()
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env(CHILD_DATABASE, &self.database).current_dir(self.directory.path());
        command
    }

    /// The answer of [`opens_in_another_process`], as a user that owns nothing here.
    fn opened_unprivileged(&self) -> String {
        let mut command = self.command(&self.program);
        command.args(["--exact", "bad_input::opens_in_another_process", "--nocapture"]);
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(65534).gid(65534);
        }
        answer(&output(&mut command, ""))
    }

    /// The answer and what `afterwards` prints, in a mount namespace of its own, where `before` has prepared the data
    /// directory (the first argument of both scripts).
    fn opened_between(&self, before: &str, afterwards: &str) -> (String, String) {
        let run = "\"$2\" --exact bad_input::opens_in_another_process --nocapture; echo afterwards:";
        let mut command = self.command(Path::new("unshare"));
        command.args(["--user", "--map-root-user", "--mount", "sh", "-e", "-c"]);
        command.arg(format!("{before}\n{run}\n{afterwards}")).arg("sh").arg(self.data()).arg(&self.program);
        let printed = output(&mut command, "");
        (answer(&printed), printed.rsplit("afterwards:\n").next().unwrap().to_owned())
    }
}

fn answer(printed: &str) -> String {
    let line = printed.lines().find_map(|line| line.strip_prefix(ANSWER));
    line.unwrap_or_else(|| panic!("no answer: {printed}")).to_owned()
}

#[test]
fn permissions_of_an_unprivileged_user_are_explained() {
    for mode in ["WAL", "DELETE"] {
        let place = Place::new(mode);
        assert_eq!(place.opened_unprivileged(), "opened", "{mode}");
        let content = std::fs::read(&place.database).unwrap();

        place.permit(&place.database, 0o000);
        assert_eq!(place.opened_unprivileged(), "Unreadable", "{mode}: file without permissions");
        place.permit(&place.database, 0o444);
        assert_eq!(place.opened_unprivileged(), "ReadOnly", "{mode}: read-only file");
        place.permit(&place.database, 0o666);
        place.permit(place.data(), 0o555);
        assert_eq!(place.opened_unprivileged(), "ReadOnly", "{mode}: read-only directory");
        place.permit(place.data(), 0o000);
        assert_eq!(place.opened_unprivileged(), "Unreadable", "{mode}: directory out of reach");
        place.permit(place.data(), 0o777);

        assert!(std::fs::read(&place.database).unwrap() == content, "{mode}: the file changed");
    }
}

#[test]
fn a_read_only_mount_is_read_only() {
    for mode in ["WAL", "DELETE"] {
        let place = Place::new(mode);
        let mount = "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"";
        assert_eq!(place.opened_between(mount, "").0, "ReadOnly", "{mode}");
    }
}

#[test]
fn a_full_disk_is_reported_as_such_and_the_database_stays_whole() {
    for mode in ["WAL", "DELETE"] {
        let place = Place::new(mode);
        let fill = "cp -p \"$1/app.db\" .; mount -t tmpfs -o size=256k none \"$1\"; cp -p app.db \"$1\"
            dd if=/dev/zero of=\"$1/ballast\" bs=4k 2>/dev/null || true";
        let look =
            "rm \"$1/ballast\"; sqlite3 \"$1/app.db\" 'PRAGMA integrity_check; SELECT * FROM t' .tables";
        let (answer, content) = place.opened_between(fill, look);
        assert_eq!((answer.as_str(), content.as_str()), ("Full", "ok\n1|kept\nt\n"), "{mode}");
    }
}

#[test]
fn a_refused_database_still_serves_its_application() {
    let database = Database::bare(TABLE);
    database.run("CREATE TABLE __harmonylite__leftover(x)");
    assert_eq!(database.try_open().unwrap_err().kind, StoreErrorKind::Damaged);
    database.run("INSERT INTO t VALUES(2, 'new')");
    assert_eq!(query(&database.application, "SELECT v FROM t"), ["'kept'", "'new'"]);
}
