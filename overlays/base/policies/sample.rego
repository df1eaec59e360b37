# What a user with this policy may do: look everywhere, and restart services of the site at hand, never of all machines
# at once. `overlay policy check` says what a policy is worth, `overlay policy explain` what it would decide and why.
package io.choria.aaasvc

import rego.v1

default allow := false

# Reading harms nobody.
allow if {
	input.agent == "rpcutil"
	input.action in {"ping", "inventory", "get_fact", "agent_inventory", "daemon_stats"}
}

# Services are restarted on named or filtered machines of this site, by whoever belongs to its operators.
allow if {
	input.agent == "service"
	input.action == "restart"
	input.claims.user_properties.site == input.site
	requires_filter()
}
