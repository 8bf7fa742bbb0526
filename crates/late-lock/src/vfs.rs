//! The layer: SQLite's own VFS, with the locks of the shared index and writes to the log looked at on their way.
//!
//! Every function here is called by SQLite, with files that [`open`] made: that is what each of them relies on.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;
use std::{mem, ptr, slice};

use rusqlite::Connection;
use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use super::lock::WriteLock;
use super::{Lock, code, index};

/// Under this name SQLite has it.
pub(super) const NAME: &CStr = c"harmonylite-late-lock";

/// What is asked of the layer of a connection.
pub(super) enum Request<'r> {
    Prefer(Lock),
    /// Yes is `SQLITE_OK`.
    IsPending,
    /// Yes is `SQLITE_OK`.
    IsLost,
    Commit,
    /// Yes is `SQLITE_OK`.
    Clashed,
    HeldFor(&'r mut Option<Duration>),
    Commits(&'r mut Option<u32>),
}

/// The number of our request in SQLite's list: those below 100 are its own.
const REQUEST: c_int = 4_800_012;

/// SQLite's own VFS.
static SYSTEM: AtomicPtr<sqlite3_vfs> = AtomicPtr::new(ptr::null_mut());

/// A file as SQLite has it: this, and right behind it the one of its own VFS.
#[repr(C)]
struct LayerFile {
    base: sqlite3_file,
    role: Role,
}

enum Role {
    Database(WriteLock),
    /// Of the database whose file this is.
    Log(*mut sqlite3_file),
}

/// Makes the layer known, once; an error is SQLite's code.
pub(super) fn register() -> Result<(), c_int> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    match *REGISTERED.get_or_init(register_once) {
        ffi::SQLITE_OK => Ok(()),
        code => Err(code),
    }
}

fn register_once() -> c_int {
    // SAFETY: null is the default; what is found lives as long as the process.
    let system = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    // SAFETY: as above.
    let Some(own) = (unsafe { system.as_ref() }) else { return ffi::SQLITE_ERROR };
    SYSTEM.store(system, Ordering::Release);
    let size = mem::size_of::<LayerFile>() as c_int + own.szOsFile;
    // Everything but opening is done by the functions of the system's, which do not ask whose they are.
    let layer = sqlite3_vfs {
        szOsFile: size,
        pNext: ptr::null_mut(),
        zName: NAME.as_ptr(),
        xOpen: Some(open),
        ..*own
    };
    // SAFETY: it is never freed, and not the default.
    unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(layer)), 0) }
}

/// Sends `request`; `SQLITE_NOTFOUND` when the connection has no such layer.
pub(super) fn control(connection: &Connection, mut request: Request<'_>) -> c_int {
    // SAFETY: the handle is that of an open connection; our number is answered by `file_control` alone, within the call.
    unsafe {
        let argument = ptr::from_mut(&mut request).cast::<c_void>();
        ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), REQUEST, argument)
    }
}

/// The file of the system's VFS behind `file`.
unsafe fn inner(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: `register` asked for that much room.
    unsafe { file.cast::<u8>().add(mem::size_of::<LayerFile>()).cast() }
}

unsafe fn methods(file: *mut sqlite3_file) -> &'static sqlite3_io_methods {
    // SAFETY: set by the system's VFS when it opened the file, and static.
    unsafe { &*(*file).pMethods }
}

unsafe fn role<'f>(file: *mut sqlite3_file) -> &'f mut Role {
    // SAFETY: `open` made it; SQLite uses a connection, and so its files, from one thread at a time.
    unsafe { &mut (*file.cast::<LayerFile>()).role }
}

/// Calls a function of the file behind.
macro_rules! system {
    ($file:ident, $function:ident $(, $argument:expr)*) => {{
        // SAFETY: see the module; the functions are there, or `open` would have refused.
        unsafe {
            let file = inner($file);
            match methods(file).$function {
                Some(function) => function(file $(, $argument)*),
                None => ffi::SQLITE_IOERR,
            }
        }
    }};
}

unsafe extern "C" fn open(
    _layer: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let system = SYSTEM.load(Ordering::Acquire);
    // SAFETY: `register` set it before SQLite knew of us; the file is room of the size that we asked for.
    unsafe {
        let Some(open) = (*system).xOpen else { return ffi::SQLITE_CANTOPEN };
        let role = if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
            Role::Database(WriteLock::default())
        } else if flags & ffi::SQLITE_OPEN_WAL != 0 {
            Role::Log(ffi::sqlite3_database_file_object(name))
        } else {
            return open(system, name, file, flags, out_flags);
        };
        (*file).pMethods = ptr::null();
        let opened = open(system, name, inner(file), flags, out_flags);
        if opened == ffi::SQLITE_OK && methods(inner(file)).iVersion < METHODS.iVersion {
            // Without shared memory there would be nothing to do here, and no version of SQLite's VFS is without.
            return refuse(file);
        }
        if opened == ffi::SQLITE_OK {
            let base = sqlite3_file { pMethods: &raw const METHODS };
            ptr::write(file.cast::<LayerFile>(), LayerFile { base, role });
        }
        opened
    }
}

fn refuse(file: *mut sqlite3_file) -> c_int {
    match system!(file, xClose) {
        ffi::SQLITE_OK => ffi::SQLITE_CANTOPEN,
        code => code,
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let closed = system!(file, xClose);
    // SAFETY: as for the module; SQLite does not use it again.
    unsafe { ptr::drop_in_place(file.cast::<LayerFile>()) };
    closed
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    count: c_int,
    at: sqlite3_int64,
) -> c_int {
    let system = |bytes: &[u8], at| system!(file, xWrite, bytes.as_ptr().cast(), bytes.len() as c_int, at);
    // SAFETY: see the module; SQLite has so many bytes there.
    let bytes = unsafe { slice::from_raw_parts(from.cast::<u8>(), count as usize) };
    // SAFETY: see the module.
    match unsafe { role(file) } {
        Role::Database(_) => system(bytes, at),
        // SAFETY: as above; SQLite closes the log before the database.
        Role::Log(database) => match unsafe { write_lock(*database) } {
            Some(lock) => lock.write(bytes, at, &locks(*database), &system),
            None => ffi::SQLITE_MISUSE,
        },
    }
}

/// The one of a database; its file is one of ours: it is opened through the same VFS as its log.
unsafe fn write_lock<'f>(database: *mut sqlite3_file) -> Option<&'f mut WriteLock> {
    // SAFETY: handed on.
    match unsafe { role(database) } {
        Role::Database(lock) => Some(lock),
        Role::Log(_) => None,
    }
}

/// The locks of a database's shared index.
fn locks(database: *mut sqlite3_file) -> impl Fn(c_int, c_int, c_int) -> c_int {
    move |first, count, what| system!(database, xShmLock, first, count, what)
}

unsafe extern "C" fn file_control(file: *mut sqlite3_file, number: c_int, argument: *mut c_void) -> c_int {
    if number != REQUEST {
        return system!(file, xFileControl, number, argument);
    }
    // SAFETY: see the module.
    let Role::Database(lock) = (unsafe { role(file) }) else { return ffi::SQLITE_NOTFOUND };
    let yes = |yes| if yes { ffi::SQLITE_OK } else { ffi::SQLITE_NOTFOUND };
    // SAFETY: the number is ours, and `control` sends it with this.
    match unsafe { &mut *argument.cast::<Request<'_>>() } {
        Request::Prefer(preferred) => {
            lock.prefer(*preferred);
            ffi::SQLITE_OK
        }
        Request::IsPending => yes(lock.is_pending()),
        Request::IsLost => yes(lock.is_lost()),
        Request::Clashed => yes(lock.clashed()),
        Request::Commit => code(lock.commit()),
        Request::Commits(commits) => {
            **commits = lock.commits();
            ffi::SQLITE_OK
        }
        Request::HeldFor(duration) => {
            **duration = lock.held_for();
            ffi::SQLITE_OK
        }
    }
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    part: c_int,
    size: c_int,
    extend: c_int,
    address: *mut *mut c_void,
) -> c_int {
    let mapped = system!(file, xShmMap, part, size, extend, address);
    // SAFETY: see the module; the address is set when the call succeeds.
    unsafe {
        if mapped == ffi::SQLITE_OK
            && part == 0
            && size as usize == index::BYTES
            && !(*address).is_null()
            && let Role::Database(lock) = role(file)
        {
            *address = lock.mapped(*address);
        }
    }
    mapped
}

unsafe extern "C" fn shm_lock(file: *mut sqlite3_file, first: c_int, count: c_int, what: c_int) -> c_int {
    let system = |first, count, what| system!(file, xShmLock, first, count, what);
    // SAFETY: see the module.
    match unsafe { role(file) } {
        Role::Database(lock) => lock.shm_lock(first, count, what, &system),
        Role::Log(_) => system(first, count, what),
    }
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: see the module.
    if let Role::Database(lock) = unsafe { role(file) } {
        lock.unmapped();
    }
    system!(file, xShmUnmap, delete)
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: see the module.
    unsafe {
        let file = inner(file);
        if let Some(barrier) = methods(file).xShmBarrier {
            barrier(file);
        }
    }
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    into: *mut c_void,
    count: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: see write.
    if let Role::Log(database) = unsafe { role(file) }
        && let Some(lock) = unsafe { write_lock(*database) }
        && !lock.may_read(at + i64::from(count))
    {
        return ffi::SQLITE_IOERR_READ;
    }
    system!(file, xRead, into, count, at)
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    system!(file, xTruncate, size)
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    system!(file, xSync, flags)
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    system!(file, xFileSize, size)
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    system!(file, xLock, level)
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    system!(file, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, held: *mut c_int) -> c_int {
    system!(file, xCheckReservedLock, held)
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    system!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    system!(file, xDeviceCharacteristics)
}

unsafe extern "C" fn fetch(
    file: *mut sqlite3_file,
    at: sqlite3_int64,
    count: c_int,
    address: *mut *mut c_void,
) -> c_int {
    system!(file, xFetch, at, count, address)
}

unsafe extern "C" fn unfetch(file: *mut sqlite3_file, at: sqlite3_int64, address: *mut c_void) -> c_int {
    system!(file, xUnfetch, at, address)
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};
