package io.choria.aaasvc
default allow = false
allow {
  not requires_fact_filter("nonsense")
}
