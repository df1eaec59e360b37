package io.choria.aaasvc
allow { input.agent == "myco" }
