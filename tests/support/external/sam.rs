//! The SAM CLI, and the AWS CLI beside it.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::docker::Docker;
use super::{forget_environment, installed};

/// The command `sam`, with cargo-lambda and zig in its path, in a fictitious account, without the user's configuration.
pub fn command() -> Command {
    beside_tools(installed("sam").unwrap_or_else(|error| panic!("{error}")).join("sam/bin/sam"))
}

/// A command that can call `sam` and `aws`, set up like [`command`].
fn beside_tools(program: impl AsRef<OsStr>) -> Command {
    let home = installed("sam").unwrap_or_else(|error| panic!("{error}"));
    let bin = home.join("sam/bin");
    let mut command = Command::new(program);
    // The variables that cargo sets for tests would make build scripts run again.
    for prefix in ["AWS_", "SAM_", "DOCKER_", "CARGO_PKG_", "CARGO_MANIFEST_"] {
        forget_environment(&mut command, prefix);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let caches = home.join("cache");
    command
        .env("PATH", path)
        .env("SAM_CLI_TELEMETRY", "0")
        .env("__SAM_CLI_APP_DIR", caches.join("sam"))
        .env("SAM_LAYER_CACHE_BASEDIR", caches.join("layers"))
        .env("CARGO_ZIGBUILD_CACHE_DIR", caches.join("zigbuild"))
        .env("ZIG_GLOBAL_CACHE_DIR", caches.join("zig"))
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command
}

/// Like [`command`], with this endpoint in place of AWS.
pub fn deploying_to(endpoint: &str) -> Command {
    in_the_place_of_aws(command(), endpoint)
}

/// A shell with `sam` and the AWS CLI, with this endpoint in place of AWS.
pub fn shell(endpoint: &str) -> Command {
    in_the_place_of_aws(beside_tools("bash"), endpoint)
}

fn in_the_place_of_aws(mut command: Command, endpoint: &str) -> Command {
    // By default it polls a deployment only every five seconds.
    command.env("AWS_ENDPOINT_URL", endpoint).env("SAM_CLI_POLL_DELAY", "1");
    command
}

/// Like [`command`], with this Docker.
pub fn with_docker(docker: &Docker) -> Command {
    let mut command = command();
    command.env("DOCKER_HOST", docker.host());
    command
}

/// A template as JSON, in which tags are expanded to the functions that they abbreviate.
pub fn read_template(path: &Path) -> Value {
    let home = installed("sam").unwrap_or_else(|error| panic!("{error}"));
    let read =
        "import json, sys; from samcli.yamlhelper import yaml_parse; print(json.dumps(yaml_parse(sys.stdin.read())))";
    let mut python = Command::new(home.join("sam/bin/python"));
    let output = python.args(["-B", "-c", read]).stdin(File::open(path).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
