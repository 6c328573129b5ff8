//! Whether the answer to an attempt of a request was lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;

/// Watches the attempts of one request, which the SDK makes by itself. One that was not answered, or with an error of the
/// server, may have been carried out, and then the next one finds its work done.
#[derive(Debug, Clone, Default)]
pub(super) struct LostAnswers {
    /// The latest attempt was sent, and may have been carried out.
    is_open: Arc<AtomicBool>,
    were_there: Arc<AtomicBool>,
}

impl LostAnswers {
    /// Whether an attempt before the last one may have been carried out.
    pub(super) fn were_there(&self) -> bool {
        self.were_there.load(Ordering::Relaxed)
    }
}

impl Intercept for LostAnswers {
    fn name(&self) -> &'static str {
        "LostAnswers"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.is_open.swap(true, Ordering::Relaxed) {
            self.were_there.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Refused, such as for throttling.
        if context.response().status().is_client_error() {
            self.is_open.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}
