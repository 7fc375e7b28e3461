//! Directories of tests, below the target directory, gone with the test that made them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// A new, empty directory; removed when dropped.
#[derive(Debug)]
pub struct Dir(PathBuf);

impl Dir {
    /// # Panics
    /// When the target directory cannot be written.
    pub fn new(name: &str) -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = scratch().join(format!("{name}-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory below target/");
        Dir(path)
    }

    /// One at a given place.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn at(path: PathBuf) -> Dir {
        fs::create_dir_all(&path).expect("a directory");
        Dir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where cargo lets tests keep files (`CARGO_TARGET_TMPDIR`, which a library is not told).
fn scratch() -> PathBuf {
    profile_dir().with_file_name("tmp")
}

/// Where this build's binaries are: `target/debug`.
pub(super) fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let deps = test.parent().expect("tests are built in deps/");
    deps.parent().expect("deps/ is in the profile's directory").to_owned()
}
