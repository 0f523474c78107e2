//! A temporary folder that goes when this process goes, with the server that runs in it.
//!
//! Nothing runs in a process that is killed, so another one watches: a shell that reads from a
//! pipe whose other end only this process holds. When the pipe closes, it ends the server that the
//! file `pid` names and removes the folder.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::program::Owner;

/// Arguments: the folder, and the signal that ends the server at once. The server gets 3 s for
/// it. It may be stopped, and its children with it: they go on, to end.
const WATCH: &str = r#"
trap '' HUP INT QUIT TERM
while read -r line; do :; done
{
  if read -r server children <"$1/pid"; then
    kill -s "$2" "$server"
    kill -s CONT "$server" $children
    tries=0
    while read -r _ _ state _ <"/proc/$server/stat" && [ "$state" != Z ] && [ "$tries" -lt 60 ]; do
      sleep 0.05
      tries=$((tries + 1))
    done
    kill -s KILL "$server" $children
  fi
  rm -rf -- "$1"
} 2>/dev/null
"#;

/// Removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    watch: Child,
}

impl Folder {
    /// In the folder `within`, or the system's for temporary files, for a server of `owner`'s.
    pub(crate) fn new(within: Option<&Path>, owner: Owner, end_signal: &str) -> Self {
        let within = within.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = tempfile::Builder::new()
            .prefix("pillion-server-")
            .tempdir_in(&within)
            .unwrap_or_else(|error| panic!("cannot make a folder in {}: {error}", within.display()))
            .keep();
        owner.give(&path);
        let watch = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(&path)
            .arg(end_signal)
            .current_dir("/")
            // Out of reach of the terminal's Ctrl-C, and of who waits for our output to end.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start sh: {error}"));
        Self { path, watch }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file with the server's process id, followed by those of its children if they are
    /// stopped.
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.path.join("pid")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        // It does not fail; and if it did, a folder would stay behind, no more.
        let _ended = self.watch.wait();
        let _gone = fs::remove_dir_all(&self.path);
    }
}
