-- What wrk saw, as one line of JSON; a response that is not 200 is an error.
done = function(summary, latency, requests)
   local errors = summary.errors
   local wrong = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   local line = '{"requests":%d,"errors":%d,"p50_us":%d,"p99_us":%d,"p999_us":%d}'
   print(line:format(summary.requests, wrong, latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
