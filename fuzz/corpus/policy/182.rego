package io.choria.aaasvc
default allow = false
allow {
  sprintf("%s.%s", [input.agent, input.action]) == "myco.deploy"
}
