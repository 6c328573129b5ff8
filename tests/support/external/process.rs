//! Programs that do not outlive the test.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Runs a command in its own process group until the command ends or standard input ends. The input ends when the test
/// drops its end or dies in any way. Leaves neither a process of the group nor the directory.
const GUARDIAN: &str = r#"
directory=$1 grace=$2 cleanup=$3
shift 3
# Hide the shell's own errors and its messages about jobs.
exec 3<&0 4>&2 </dev/null 2>/dev/null
set -m
"$@" 2>&4 3<&- 4>&- &
child=$!
{
    read -r _ <&3
    kill -TERM -- "-$child"
    sleep "$grace"
    kill -KILL -- "-$child"
} >/dev/null 4>&- &
watcher=$!
set +m
wait "$child"
echo "ended with status $?"
exec >/dev/null
kill -KILL -- "-$watcher" "-$child"
eval "$cleanup"
# A killed process may take a moment to disappear.
for _ in 1 2 3 4 5; do
    rm -rf --one-file-system "$directory" && break
    sleep 0.2
done
"#;

/// A running program. It ends when this is dropped, and also when the test's process ends without dropping it: statics
/// are never dropped, and a test may be killed.
#[derive(Debug)]
pub struct Process {
    guardian: Child,
    directory: TempDir,
    /// An unnamed file, which can still be read after the directory is deleted.
    log: File,
}

/// How a program ends.
#[derive(Debug)]
pub struct Ending {
    /// The time between `SIGTERM` and `SIGKILL`.
    pub grace: Duration,
    /// A shell script to run after its end.
    pub cleanup: String,
}

impl Default for Ending {
    fn default() -> Self {
        Self { grace: Duration::from_secs(5), cleanup: String::new() }
    }
}

impl Process {
    /// Starts it, with a new temporary directory.
    pub fn start(command: &Command) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), command, &Ending::default())
    }

    /// Starts it with this directory, which is removed after its end.
    pub fn start_in(directory: TempDir, command: &Command, ending: &Ending) -> Self {
        let log = tempfile::tempfile().unwrap();
        let mut guardian = Command::new("bash");
        guardian.args(["-c", GUARDIAN, "guardian"]).arg(directory.path());
        guardian.arg(ending.grace.as_secs().to_string()).arg(&ending.cleanup);
        guardian.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => guardian.env(name, value),
                None => guardian.env_remove(name),
            };
        }
        if let Some(current) = command.get_current_dir() {
            guardian.current_dir(current);
        }
        let guardian = guardian
            // Not in the test's group, where Ctrl-C would end it before it has cleaned up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log.try_clone().unwrap())
            .spawn()
            .expect("bash can be run");
        Self { guardian, directory, log }
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        let mut log = vec![0; self.log.metadata().unwrap().len() as usize];
        // Without the file's cursor, which the program also writes at.
        self.log.read_exact_at(&mut log, 0).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Asks until there is an answer. Fails with the output if the program ends first or the time runs out.
    pub fn wait_for<T>(&mut self, limit: Duration, mut ask: impl FnMut(&Self) -> Option<T>) -> Result<T, String> {
        let start = Instant::now();
        loop {
            let has_ended = self.guardian.try_wait().unwrap().is_some();
            if let Some(answer) = ask(self) {
                return Ok(answer);
            }
            if has_ended {
                return Err(format!("it ended:\n{}", self.log()));
            }
            if start.elapsed() > limit {
                return Err(format!("it does not answer:\n{}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Waiting closes the guardian's input first.
        let _ = self.guardian.wait();
    }
}
