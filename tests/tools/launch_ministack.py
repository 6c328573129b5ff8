"""MiniStack, with its REST APIs closer to those of AWS: a path is handed over as it was sent instead of decoded, and an
OpenAPI body may have methods for ANY and gateway responses. And an alarm may be about an expression of several metrics."""

from ministack import app
from ministack.services import apigateway_v1
from ministack.services.cloudformation import provisioners

handle = app._handle_execute_api_request
import_api = apigateway_v1._import_rest_api
import_path = apigateway_v1._import_path_item
describe_alarm = provisioners._cw_metric_alarm_record


async def handle_as_sent(host, path, *rest, raw_path=None, **named):
    parsed = app._parse_execute_api_url(host, raw_path) if raw_path else None
    if parsed and apigateway_v1.find_api_scope(parsed[0]) is not None:
        path = raw_path
    return await handle(host, path, *rest, raw_path=raw_path, **named)


def import_api_with_responses(spec, *rest):
    api_id = import_api(spec, *rest)
    for kind, response in (spec.get("x-amazon-apigateway-gateway-responses") or {}).items():
        apigateway_v1._put_gateway_response(api_id, kind, response)
    return api_id


def import_path_with_any(api_id, path, item, *rest):
    item = {"any" if name == "x-amazon-apigateway-any-method" else name: value for name, value in item.items()}
    return import_path(api_id, path, item, *rest)


def describe_alarm_of_expression(name, properties):
    metrics = [one["MetricStat"] for one in properties.get("Metrics") or () if "MetricStat" in one]
    if metrics:
        # MiniStack computes no expressions. The first metric stands for it.
        of_metric = {**metrics[0]["Metric"], "Period": metrics[0]["Period"], "Statistic": metrics[0]["Stat"]}
        properties = {**properties, **of_metric, "Metrics": None}
    return describe_alarm(name, properties)


app._handle_execute_api_request = handle_as_sent
apigateway_v1._import_rest_api = import_api_with_responses
apigateway_v1._import_path_item = import_path_with_any
apigateway_v1._OPENAPI_HTTP_METHODS.add("any")
provisioners._cw_metric_alarm_record = describe_alarm_of_expression
app.main()
