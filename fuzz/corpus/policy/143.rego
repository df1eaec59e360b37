package io.choria.aaasvc
default allow = false
allow { requires_fact_filter("nonsense") }
allow { input.agent == "myco" }
