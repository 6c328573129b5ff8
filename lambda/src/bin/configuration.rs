//! The function `configuration`: services, their settings, the account and its keys.

use reachability_lambda::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    http::run(reachability_functions::configuration).await
}
