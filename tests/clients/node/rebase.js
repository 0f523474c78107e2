// A plugin for twitter-api-v2, which has no setting for it: sends what is addressed to X's own
// host to the system under test instead.

"use strict";

const http = require("node:http");

const HOSTS = new Set(["api.x.com", "api.twitter.com"]);

class Rebase {
  constructor(base) {
    this.base = new URL(base);
  }

  onBeforeRequestConfig({ params }) {
    this.rebase(params);
  }

  onBeforeStreamRequestConfig({ params }) {
    this.rebase(params);
  }

  rebase(params) {
    const url = new URL(params.url);
    if (!HOSTS.has(url.hostname)) return;
    url.protocol = this.base.protocol;
    url.host = this.base.host;
    params.url = url.toString();
  }
}

// The settings of a client of the system at `base`.
function settings(base) {
  // The library only speaks TLS unless it is given an agent that does not.
  return { plugins: [new Rebase(base)], httpAgent: new http.Agent({ keepAlive: true }) };
}

module.exports = { settings };
