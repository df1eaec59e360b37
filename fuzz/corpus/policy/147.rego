allow = true
