package io.choria.aaasvc
default allow = false
allow {
  re_match("^my", input.agent)
}
