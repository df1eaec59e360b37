package choria.aaa.policy
default allow = false
allow = true { true }
