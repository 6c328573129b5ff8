//! The function `users`: users and their reachability.

use reachability_lambda::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    http::run(reachability_functions::users).await
}
