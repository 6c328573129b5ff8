//! The data directory.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reachability_tests::client::Client;
use reachability_tests::command::{reachability, run};
use reachability_tests::server::{Server, binary};

use super::{ACCOUNT, TOKEN, in_shell, stop};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn only_the_owner_can_read_the_data() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("parent").join("data");
    let server = Server::start_with(&data, &[], |command| {
        let serve = reachability(&["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
        // The command itself has to set the permissions.
        *command = in_shell("umask 0;", &serve);
    });
    Client::of(&server).enabled_service().await;
    assert_eq!(mode(&data), 0o700);
    let files = files(&data);
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    stop(server);
}

#[tokio::test]
async fn what_others_could_read_is_made_private() {
    const SAID: &str = "other users had access";
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    set_mode(&data, 0o755);
    let server = Server::start(&data, &[]);
    Client::of(&server).enabled_service().await;
    assert_eq!(mode(&data), 0o700);
    // The journal of a server that was killed stays.
    server.kill();

    set_mode(&data, 0o750);
    let ours = files(&data);
    for name in ["account.json", "credentials.key", "reachability.db", "reachability.db-wal", "reachability.db-shm"] {
        assert!(ours.contains(&data.join(name)), "{name}: {ours:?}");
    }
    ours.iter().for_each(|file| set_mode(file, 0o644));
    let precious = data.join("precious");
    fs::write(&precious, "precious").unwrap();
    set_mode(&precious, 0o644);
    let server = Server::start(&data, &[]);
    assert_eq!(mode(&data), 0o700);
    for file in files(&data).iter().filter(|file| **file != precious) {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    assert_eq!(mode(&precious), 0o644, "it is not ours");
    let logs = stop(server);
    let line = |path: &Path, mode: &str| {
        let path = path.canonicalize().unwrap();
        let path = format!("\"{}\"", path.display());
        logs.lines().any(|line| line.contains(SAID) && line.contains(&path) && line.contains(mode))
    };
    assert!(line(&data, "750") && line(&data.join("account.json"), "644"), "{logs}");
    assert!(!stop(Server::start(&data, &[])).contains(SAID));
}

/// Only a directory's owner can change its permissions.
#[test]
fn a_directory_of_somebody_else_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let serve = |binary: &Path, data: &Path| {
        let mut command = Command::new(binary);
        command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(data).env_clear();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let is_root = fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0);
    let (data, mut command) = if is_root {
        let (copy, data) = (directory.path().join("reachability"), directory.path().join("data"));
        fs::copy(binary(), &copy).unwrap();
        fs::create_dir(&data).unwrap();
        set_mode(directory.path(), 0o755);
        set_mode(&data, 0o777);
        let mut command = serve(&copy, &data);
        command.uid(65_534).gid(65_534).current_dir("/");
        (data, command)
    } else {
        (PathBuf::from("/"), serve(binary(), Path::new("/")))
    };
    let before = (mode(&data), files(&data).len());
    let outcome = run(&mut command, b"");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
    for word in [data.to_str().unwrap(), "chmod", "--data-dir"] {
        assert!(outcome.stderr.contains(word), "no {word}: {}", outcome.stderr);
    }
    assert_eq!((mode(&data), files(&data).len()), before);
}

/// It is not the server's to close.
#[test]
fn a_directory_for_all_users_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    set_mode(directory.path(), 0o1777);
    let data = directory.path().to_str().unwrap();
    let outcome = run(&mut reachability(&["--listen", "127.0.0.1:0", "--data-dir", data]), b"");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
    for word in [data, "--data-dir"] {
        assert!(outcome.stderr.contains(word), "no {word}: {}", outcome.stderr);
    }
    assert_eq!((mode(directory.path()), files(directory.path()).len()), (0o1777, 0));
    stop(Server::start(&directory.path().join("own"), &[]));
}

#[tokio::test]
async fn two_servers_do_not_share_a_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let first = Server::start(directory.path(), &[]);
    for is_lock_removed in [false, true] {
        if is_lock_removed {
            fs::remove_file(directory.path().join("lock")).unwrap();
        }
        let outcome = run(&mut reachability(&["--listen", "127.0.0.1:0", "--data-dir", data]), b"");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
        for word in [data, "already", "--data-dir"] {
            assert!(outcome.stderr.contains(word), "no {word}: {}", outcome.stderr);
        }
    }
    Client::of(&first).enabled_service().await;
    // A server that was killed leaves no lock.
    first.kill();
    stop(Server::start(directory.path(), &[]));
}

/// The disk is full: no file may grow.
#[test]
fn a_first_start_that_fails_leaves_no_directory_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (new, known) = (directory.path().join("new"), directory.path().join("known"));
    fs::create_dir(&known).unwrap();
    fs::write(known.join("precious"), "precious").unwrap();
    for data in [&new, &known] {
        let serve = reachability(&["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
        let outcome = run(&mut in_shell("ulimit -f 0;", &serve), b"");
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains("credentials.key"), "{outcome:?}");
    }
    assert!(!new.exists(), "the directory is left: {:?}", fs::read_dir(&new).map(Iterator::count));
    // What was there before stays.
    assert_eq!(fs::read_to_string(known.join("precious")).unwrap(), "precious");
    for data in [&new, &known] {
        let server = Server::start(data, &[]);
        assert!(server.greeting.contains(&server.token), "{}", server.greeting);
        stop(server);
    }
}

#[test]
fn an_unusable_data_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    for data in [file.clone(), file.join("data"), PathBuf::from("/dev/null/data")] {
        let data = data.to_str().unwrap();
        let outcome = run(&mut reachability(&["--listen", "127.0.0.1:0", "--data-dir", data]), b"");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
        for word in [data, "--data-dir"] {
            assert!(outcome.stderr.contains(word), "no {word}: {}", outcome.stderr);
        }
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
}

#[test]
fn foreign_files_are_named_and_left_alone() {
    let garbage: Vec<u8> = (0..16_384_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let no_token = format!("{{\"account_sid\":\"{ACCOUNT}\"}}");
    let no_sid = format!("{{\"account_sid\":\"AC\",\"auth_token\":\"{TOKEN}\"}}");
    for (name, content) in [
        ("reachability.db", garbage.as_slice()),
        ("reachability.db", b"not a database, but longer than its header is: one hundred bytes. ".repeat(9).as_slice()),
        ("account.json", b""),
        ("account.json", b"{"),
        ("account.json", b"[]"),
        ("account.json", &garbage),
        ("account.json", no_token.as_bytes()),
        ("account.json", no_sid.as_bytes()),
        ("credentials.key", b""),
        ("credentials.key", b"short"),
        ("credentials.key", &garbage),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(name);
        fs::write(&file, content).unwrap();
        let data = directory.path().to_str().unwrap();
        let outcome = run(&mut reachability(&["--listen", "127.0.0.1:0", "--data-dir", data]), b"");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{name}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(file.to_str().unwrap()), "{name}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("panicked"), "{name}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains(TOKEN), "{name}: {}", outcome.stderr);
        assert_eq!(fs::read(&file).unwrap(), content, "{name}");
    }
}

#[test]
fn a_directory_in_place_of_a_file_is_not_reported_as_the_data_directory() {
    for name in ["account.json", "credentials.key", "reachability.db"] {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(name)).unwrap();
        let data = directory.path().to_str().unwrap();
        let outcome = run(&mut reachability(&["--listen", "127.0.0.1:0", "--data-dir", data]), b"");
        assert_eq!(outcome.code, Some(1), "{name}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(name), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains(&format!("{name} as the data directory")), "{}", outcome.stderr);
    }
}
