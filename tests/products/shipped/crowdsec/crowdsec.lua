-- In the place of CrowdSec's script of this name, which renders pages: a ban is 403, a captcha is asked for with 202.
core.register_action("crowdsec_handle", { "http-req" }, function(transaction)
    local reply = transaction:reply()
    local remediation = transaction:get_var("txn.crowdsec.remediation")
    reply:set_status(remediation == "ban" and 403 or 202)
    reply:set_body(remediation .. "\n")
    transaction:done(reply)
end)
