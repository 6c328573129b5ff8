//! The function `events`: accepts events.

use reachability_lambda::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    http::run(reachability_functions::events).await
}
