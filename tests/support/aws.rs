//! Clients of the stand-ins for AWS, configured as in the functions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{ConfigLoader, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextMut,
    BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Credentials, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, ConsumedCapacity, KeySchemaElement, KeyType, ReturnConsumedCapacity,
    ScalarAttributeType, StreamSpecification, StreamViewType,
};
use reachability_infra::aws;

/// The configuration of clients of this endpoint: that of the functions, with meaningless credentials.
pub async fn config_of_functions(endpoint: &str) -> SdkConfig {
    loader(endpoint).load().await
}

/// The same with longer timeouts: the stand-ins for AWS share a small machine with the tests.
pub async fn config(endpoint: &str) -> SdkConfig {
    loader(endpoint)
        .timeout_config(TimeoutConfig::builder().connect_timeout(Duration::from_secs(30)).build())
        .load()
        .await
}

fn loader(endpoint: &str) -> ConfigLoader {
    let credentials = Credentials::new("test", "test", None, None, "test");
    aws::loader().endpoint_url(endpoint).region(Region::new("us-east-1")).credentials_provider(credentials)
}

/// Creates a table like that of the template, with a unique name. Returns the name.
pub async fn create_table(client: &Client) -> String {
    static TABLES: AtomicU64 = AtomicU64::new(0);
    let name = format!("test-{}-{}", std::process::id(), TABLES.fetch_add(1, Ordering::Relaxed));
    let mut request = client.create_table().table_name(&name).billing_mode(BillingMode::PayPerRequest);
    for (attribute, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
        let key = KeySchemaElement::builder().attribute_name(attribute).key_type(kind).build().unwrap();
        let definition = AttributeDefinition::builder().attribute_name(attribute);
        let definition = definition.attribute_type(ScalarAttributeType::S).build().unwrap();
        request = request.key_schema(key).attribute_definitions(definition);
    }
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
    request.stream_specification(stream.build().unwrap()).send().await.unwrap();
    name
}

/// Counts the requests that are sent, including retries.
#[derive(Debug, Clone, Default)]
pub struct CountRequests(Arc<AtomicU64>);

impl CountRequests {
    /// How many were sent since the last call.
    pub fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Intercept for CountRequests {
    fn name(&self) -> &'static str {
        "CountRequests"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Counts the write units of updates, as the engine bills them.
#[derive(Debug, Clone, Default)]
pub struct CountWriteUnits(Arc<Mutex<Vec<f64>>>);

impl CountWriteUnits {
    /// The units of each update since the last call.
    pub fn take(&self) -> Vec<f64> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Intercept for CountWriteUnits {
    fn name(&self) -> &'static str {
        "CountWriteUnits"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(input) = context.input_mut().downcast_mut::<UpdateItemInput>() {
            input.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Ok(output) = context.output_or_error()
            && let Some(output) = output.downcast_ref::<UpdateItemOutput>()
        {
            let units = output.consumed_capacity().and_then(ConsumedCapacity::capacity_units);
            self.0.lock().unwrap().push(units.unwrap());
        }
        Ok(())
    }
}
