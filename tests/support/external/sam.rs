//! The SAM CLI.

use std::process::Command;

use super::docker::Docker;
use super::{forget_environment, installed};

/// The command `sam`, with cargo-lambda and zig at hand, in a made-up account, and knowing nothing of the user's.
pub fn command() -> Command {
    let home = installed("sam").unwrap_or_else(|error| panic!("{error}"));
    let bin = home.join("sam/bin");
    let mut command = Command::new(bin.join("sam"));
    // What cargo sets for tests would make its build scripts run again.
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

/// The same, with this in the place of AWS.
pub fn deploying_to(endpoint: &str) -> Command {
    let mut command = command();
    command.env("AWS_ENDPOINT_URL", endpoint);
    command
}

/// The same, with this Docker.
pub fn with_docker(docker: &Docker) -> Command {
    let mut command = command();
    command.env("DOCKER_HOST", docker.host());
    command
}
