//! The template that ships, built by the SAM CLI and deployed into MiniStack.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};
use std::thread;

use aws_config::SdkConfig;
use reachability_infra::clock;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{self, Runtime};

use crate::aws;
use crate::clients::Api;
use crate::external::ministack::MiniStack;
use crate::external::sam;
use crate::providers::{Apple, Ca, Google};

/// A deployed stack.
pub struct Stack {
    /// Where it is deployed.
    pub ministack: MiniStack,
    /// The API's URL, as clients are given it.
    pub url: String,
    /// The account's sid.
    pub account: String,
    /// The account's token.
    pub token: String,
    /// The secret that holds the token.
    pub secret: String,
    /// The event queue.
    pub queue_url: String,
    /// The queue of messages that cannot be handled.
    pub dead_letter_url: String,
    /// The table.
    pub table: String,
    /// The topic of changes.
    pub topic_arn: String,
    /// Its outputs.
    pub outputs: Value,
    /// Apple, as the functions see it.
    pub apple: Apple,
    /// Google, as the functions see it.
    pub google: Google,
    /// The runtime of the two, independent of the tests' runtimes.
    _runtime: Runtime,
    /// The directory with the certificates that the functions trust.
    _certificates: TempDir,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Runs a command, which must succeed.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The directory with the template and the functions that `sam build` has built for this machine.
pub fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let directory = root().join("target/sam-build");
        let mut build = sam::command();
        // Optimising takes minutes and does not matter to the tests.
        for (setting, value) in [("OPT_LEVEL", "1"), ("LTO", "off"), ("CODEGEN_UNITS", "16")] {
            build.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
        build.arg("build").arg("--build-dir").arg(&directory).args(["--parameter-overrides", &architecture()]);
        succeed(build.current_dir(root()));
        directory
    })
}

/// A directory like that of the repository after `sam build`, for commands that write into it.
pub fn project() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for file in ["template.yaml", "samconfig.toml"] {
        std::fs::copy(root().join(file), directory.path().join(file)).unwrap();
    }
    std::fs::create_dir(directory.path().join(".aws-sam")).unwrap();
    std::os::unix::fs::symlink(built(), directory.path().join(".aws-sam/build")).unwrap();
    directory
}

/// The template's parameter for this machine.
pub fn architecture() -> String {
    format!("Architecture={}", if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" })
}

impl Stack {
    /// The stack that the tests of a process share. It takes minutes to build and seconds to deploy.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Stack> = OnceLock::new();
        SHARED.get_or_init(Self::deploy)
    }

    fn deploy() -> Self {
        built();
        let (runtime, apple, google, certificates) = providers();
        let roots = certificates.path().join("ca.pem");
        let ministack = MiniStack::start(|command| {
            command
                .env("SSL_CERT_FILE", &roots)
                .env("REACHABILITY_APNS_URL", apple.url())
                .env("REACHABILITY_APNS_SANDBOX_URL", apple.sandbox_url())
                .env("REACHABILITY_FCM_URL", google.url())
                .env("REACHABILITY_FCM_TOKEN_URL", google.token_url());
        });
        let endpoint = ministack.url();
        // Webhooks go to receivers on this machine.
        let private = "AllowPrivateWebhooks=true";
        deploy(&endpoint, NAME, &[private]);
        let outputs = outputs(&endpoint, NAME);
        let output = |key: &str| outputs[key].as_str().unwrap_or_else(|| panic!("no output {key}")).to_owned();
        let url = url(&endpoint, &output("ApiUrl"));
        deploy(&endpoint, NAME, &[private, &format!("PublicUrl={url}")]);
        let secret = output("TokenCommand").split_whitespace().last().unwrap().to_owned();
        Self {
            token: read_secret(&endpoint, &secret),
            account: output("AccountSid"),
            secret,
            queue_url: output("EventQueueUrl"),
            dead_letter_url: output("DeadLetterQueueUrl"),
            table: output("TableName"),
            topic_arn: output("ChangesTopicArn"),
            outputs: outputs.clone(),
            url,
            ministack,
            apple,
            google,
            _runtime: runtime,
            _certificates: certificates,
        }
    }

    /// The API for the helper libraries.
    pub fn api(&self) -> Api<'_> {
        Api { url: &self.url, account: &self.account, token: &self.token }
    }

    /// The configuration of clients of the MiniStack that it is deployed into.
    pub async fn config(&self) -> SdkConfig {
        aws::config(&self.ministack.url()).await
    }
}

/// Stand-ins for Apple and Google, with their root certificate in a file `ca.pem`. They start on a new thread, since
/// the caller's thread may run a runtime.
fn providers() -> (Runtime, Apple, Google, TempDir) {
    let start = || {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let ca = Arc::new(Ca::new());
        let apple = runtime.block_on(Apple::start_with(ca.clone(), clock::now));
        let google = runtime.block_on(Google::start_with(ca.clone(), clock::now));
        let directory = tempfile::tempdir().unwrap();
        ca.write(&directory.path().join("ca.pem"));
        (runtime, apple, google, directory)
    };
    thread::scope(|scope| scope.spawn(start).join().unwrap())
}

/// The URL at which MiniStack serves an API, whose DNS name does not exist here. The functions cannot know this URL.
pub fn url(endpoint: &str, api: &str) -> String {
    let id = api.trim_start_matches("https://").split('.').next().unwrap();
    format!("{endpoint}/_aws/execute-api/{id}/api")
}

/// The default name of a stack.
pub const NAME: &str = "reachability";

/// Deploys the functions that were built for this machine.
pub fn deploy(endpoint: &str, name: &str, parameters: &[&str]) {
    let mut deploy = sam::deploying_to(endpoint);
    deploy.args(["deploy", "--no-confirm-changeset", "--config-file"]).arg(root().join("samconfig.toml"));
    deploy.arg("--template-file").arg(built().join("template.yaml")).args(["--stack-name", name]);
    deploy.args(["--parameter-overrides", &architecture()]).args(parameters);
    succeed(&mut deploy);
}

/// The outputs of a deployed stack.
pub fn outputs(endpoint: &str, name: &str) -> Value {
    let mut list = sam::deploying_to(endpoint);
    list.args(["list", "stack-outputs", "--stack-name", name, "--output", "json"]);
    let outputs: Value = serde_json::from_slice(&succeed(&mut list).stdout).unwrap();
    let pair = |output: &Value| (output["OutputKey"].as_str().unwrap().to_owned(), output["OutputValue"].clone());
    outputs.as_array().unwrap().iter().map(pair).collect::<serde_json::Map<_, _>>().into()
}

/// Reads a secret as its owner does, on a new thread, since the caller's thread may run a runtime.
fn read_secret(endpoint: &str, id: &str) -> String {
    let read = async {
        let client = aws_sdk_secretsmanager::Client::new(&aws::config(endpoint).await);
        client.get_secret_value().secret_id(id).send().await.unwrap().secret_string.unwrap()
    };
    let run = || runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(read);
    thread::scope(|scope| scope.spawn(run).join().unwrap())
}
