//! Ends a fleet's processes when the process that started them is killed: nothing runs in that
//! one any more, so another one waits for its end.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Its argument is the folder with a file for each process, which holds its id. A process that
/// ended in order has none any more.
const WATCH: &str = r#"
trap '' HUP INT QUIT TERM
while read -r line; do :; done
cat "$1"/* 2>/dev/null | while read -r process; do
  kill -s KILL "$process" 2>/dev/null
done
"#;

/// Waits until it is dropped, or its process has gone.
#[derive(Debug)]
pub(super) struct Watch {
    folder: PathBuf,
    shell: Child,
}

impl Watch {
    pub(super) fn new(folder: &Path) -> Self {
        // Those of an earlier run are gone.
        if folder.exists() {
            fs::remove_dir_all(folder).expect("a folder of ours");
        }
        fs::create_dir_all(folder).expect("a folder of ours");
        let shell = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(folder)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start sh: {error}"));
        Self { folder: folder.to_owned(), shell }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ended = self.shell.wait();
    }
}
