//! A Docker engine of the test's own, with the image in which the SAM CLI runs functions.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use super::installed;
use super::process::{Ending, Process};

/// Held while an engine starts, so that engines start one after the other.
static STARTING: Mutex<()> = Mutex::new(());

/// A running engine. It has its own namespaces for processes and mounts, so that nothing of it is left when it is
/// killed, and its own network bridge without firewall rules, so that it does not affect the machine.
#[derive(Debug)]
pub struct Docker {
    process: Process,
    gateway: Ipv4Addr,
}

impl Docker {
    /// Starts it. The error says why Docker cannot run here.
    pub fn start() -> Result<Self, String> {
        if !std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0) {
            return Err("Docker is started by the tests, which takes root on Linux".to_owned());
        }
        for program in ["docker", "dockerd", "ip", "unshare"] {
            let path = std::env::var_os("PATH").unwrap_or_default();
            if !std::env::split_paths(&path).any(|directory| directory.join(program).is_file()) {
                return Err(format!("there is no {program}: run tests/tools/setup"));
            }
        }
        let tools = installed("lambda-base")?;
        // Not in /tmp: its file system may not support layers.
        let directory = tempfile::Builder::new().prefix("docker-").tempdir_in(&tools).unwrap();
        // Until the engine runs, its address looks free to others.
        let _one_at_a_time = STARTING.lock();
        let gateway = free_address()?;
        // A name of up to 15 letters, for the bridge and the control group.
        let name = format!("reach{}", gateway.octets()[2]);
        let mut command = Command::new("bash");
        command.args(["-c", START]).arg(directory.path()).arg(&name).arg(gateway.to_string());
        let ending = Ending { grace: Duration::from_secs(20), cleanup: format!("name={name}\n{CLEANUP}") };
        let process = Process::start_in(directory, &command, &ending);
        let mut docker = Self { process, gateway };
        docker.wait()?;
        docker.import(&tools.join("lambda-base.tar"))?;
        Ok(docker)
    }

    /// The value of `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.process.directory().join("socket").display())
    }

    /// The address at which containers reach this machine; `docker run --add-host` calls it `host-gateway`.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// The command `docker`.
    pub fn command(&self) -> Command {
        let mut command = Command::new("docker");
        super::forget_environment(&mut command, "DOCKER_");
        command.env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", self.process.directory().join("config"));
        command
    }

    /// The image of the runtime `provided.al2023`, as the SAM CLI calls it on this kind of machine.
    pub fn lambda_image() -> String {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        format!("public.ecr.aws/lambda/provided:al2023-{architecture}")
    }

    fn wait(&mut self) -> Result<(), String> {
        let mut info = self.command();
        info.arg("info");
        self.process
            .wait_for(Duration::from_secs(60), |_| {
                info.output().is_ok_and(|output| output.status.success()).then_some(())
            })
            .map_err(|error| format!("dockerd does not start: {error}"))
    }

    fn import(&self, tarball: &Path) -> Result<(), String> {
        let image = Self::lambda_image();
        self.run(&["import", &tarball.to_string_lossy(), &image])?;
        self.run(&["tag", &image, "public.ecr.aws/lambda/provided:al2023"])?;
        Ok(())
    }

    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.command().args(arguments).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("docker {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Otherwise Docker would give each container 10 s to stop.
        if let Ok(containers) = self.run(&["ps", "--quiet"]) {
            for container in containers.split_whitespace() {
                let _ = self.run(&["rm", "--force", container]);
            }
        }
    }
}

/// An address in a network that this machine is not in, of the range that is set aside for tests of devices (RFC 2544).
fn free_address() -> Result<Ipv4Addr, String> {
    let taken = Command::new("ip").args(["-4", "address"]).output().map_err(|error| format!("ip: {error}"))?;
    let taken = String::from_utf8_lossy(&taken.stdout).into_owned();
    let first = std::process::id() as u8;
    (0..=u8::MAX)
        .map(|n| Ipv4Addr::new(198, 18, first.wrapping_add(n), 1))
        .find(|address| !taken.contains(&format!("inet {address}/")))
        .ok_or_else(|| "there is no free address for a bridge".to_owned())
}

/// An empty `/run` hides the daemons of the machine. The shell is the first process of the namespace: it reaps orphans
/// and is not ended by signals; `dockerd` is.
const START: &str = r#"
set -e
ip link add name "$1" type bridge
ip address add "$2/24" dev "$1"
ip link set "$1" up
exec unshare --mount --pid --fork --kill-child --mount-proc sh -c 'mount -t tmpfs tmpfs /run && "$@"; exit $?' sh \
    dockerd --host "unix://$0/socket" --data-root "$0/data" --exec-root /run/docker --pidfile /run/docker.pid \
    --bridge "$1" --iptables=false --ip-forward=false --ip-masq=false \
    --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$1" --log-level warn
"#;

const CLEANUP: &str = r#"
ip link delete "$name"
find /sys/fs/cgroup -depth -type d -path "*/$name*" -exec rmdir {} \;
"#;
