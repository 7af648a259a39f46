// The fields of the forms for proxies and visitors: which keys there are, of which types, and what they mean.

const HTTP = ["http"];
const NAMED = ["http", "https", "tcpmux"];
const PRIVATE = ["stcp", "sudp", "xtcp"];

/** The types that can be made. */
export const TYPES = {
  proxy: ["tcp", "udp", "http", "https", "tcpmux", "stcp", "sudp", "xtcp"],
  visitor: ["stcp", "sudp", "xtcp"],
};

const key = (path, label, kind, more = {}) => ({ path, label, kind, ...more });
const pluginKey = (path, label, kind, of, more = {}) => key(`plugin.${path}`, label, kind, { plugins: of, ...more });
const encryption = key("transport.useEncryption", "Encrypt what is carried", "switch");
const compression = key("transport.useCompression", "Compress what is carried", "switch");

const TO_SERVICE = ["http2https", "http2http", "https2http", "https2https", "tls2raw"];
const REWRITING = TO_SERVICE.slice(0, 4);
const WITH_TLS = ["https2http", "https2https", "tls2raw"];
const WITH_HTTP_PASSWORD = ["http_proxy", "static_file"];

/** The sections of a form. `of`: the types that have a field; `plugins`: the plugins that do; `direct`: only without a plugin. */
export const SECTIONS = {
  proxy: [
    {
      title: "Public side",
      fields: [
        key("remotePort", "Port of the server", "number", { of: ["tcp", "udp"], hint: "Empty: the server chooses one." }),
        key("customDomains", "Domains", "list", { of: NAMED, hint: "One a line. *.example.com stands for any name below it." }),
        key("subdomain", "Subdomain", "text", { of: NAMED, hint: "A name below the server's own domain." }),
        key("multiplexer", "Multiplexer", "choice", { of: ["tcpmux"], options: ["httpconnect"], required: true }),
      ],
    },
    {
      title: "Local service",
      fields: [
        key("plugin.type", "What answers", "choice", {
          options: ["", ...TO_SERVICE, "unix_domain_socket", "static_file", "http_proxy", "socks5", "virtual_net"],
          words: { "": "a service at an address" },
        }),
        key("localIP", "Host", "text", { direct: true, placeholder: "127.0.0.1" }),
        key("localPort", "Port", "number", { direct: true }),
        pluginKey("localAddr", "Address of the service", "text", TO_SERVICE, { placeholder: "127.0.0.1:8080" }),
        pluginKey("hostHeaderRewrite", "Host that it sees", "text", REWRITING),
        pluginKey("requestHeaders.set", "Headers that requests get", "map", REWRITING, { hint: "One a line, as name: value." }),
        pluginKey("crtPath", "Certificate file", "text", WITH_TLS, { hint: "Empty: a certificate of its own." }),
        pluginKey("keyPath", "Key file", "text", WITH_TLS),
        pluginKey("enableHTTP2", "HTTP/2", "default-on", ["https2http", "https2https"]),
        pluginKey("unixPath", "Path of the socket", "text", ["unix_domain_socket"]),
        pluginKey("localPath", "Directory of the files", "text", ["static_file"]),
        pluginKey("stripPrefix", "What paths begin with", "text", ["static_file"], { hint: "And files do not. Empty: nothing." }),
        pluginKey("httpUser", "User that it asks for", "text", WITH_HTTP_PASSWORD, { hint: "Empty, as the password: anybody may come." }),
        pluginKey("httpPassword", "That user's password", "secret", WITH_HTTP_PASSWORD),
        pluginKey("username", "User that it asks for", "text", ["socks5"], { hint: "Empty, as the password: anybody may come." }),
        pluginKey("password", "That user's password", "secret", ["socks5"]),
      ],
    },
    {
      title: "Who may use it",
      fields: [
        key("secretKey", "Secret key", "secret", { of: PRIVATE, hint: "What visitors must know." }),
        key("allowUsers", "Users whose visitors may come", "list", { of: PRIVATE, hint: "One a line. Empty: the same user's only; * is everybody." }),
        key("httpUser", "User", "text", { of: ["http", "tcpmux"] }),
        key("httpPassword", "Password", "secret", { of: ["http", "tcpmux"] }),
        key("routeByHTTPUser", "Only requests of this user", "text", { of: ["http", "tcpmux"] }),
      ],
    },
    {
      title: "HTTP",
      fields: [
        key("locations", "Paths", "list", { of: HTTP, hint: "Beginnings of paths, one a line. Empty: all." }),
        key("hostHeaderRewrite", "Host that the service sees", "text", { of: HTTP }),
        key("requestHeaders.set", "Headers that requests get", "map", { of: HTTP, hint: "One a line, as name: value." }),
        key("responseHeaders.set", "Headers that answers get", "map", { of: HTTP, hint: "One a line, as name: value." }),
        key("inspect.requests", "Requests that are kept to look at", "number", { of: HTTP, hint: "Empty: none." }),
      ],
    },
    {
      title: "Transport",
      folded: true,
      fields: [
        encryption,
        compression,
        key("transport.bandwidthLimit", "Bandwidth limit", "text", { placeholder: "1.5MB", hint: "A second, in MB or KB, of all users together." }),
        key("transport.bandwidthLimitMode", "Kept by", "choice", { options: ["", "client", "server"], words: { "": "the client (default)", client: "the client", server: "the server" } }),
        key("transport.proxyProtocolVersion", "PROXY protocol to the service", "choice", { options: ["", "v1", "v2"], words: { "": "off" } }),
      ],
    },
    {
      title: "Health check",
      folded: true,
      fields: [
        key("healthCheck.type", "Check", "choice", { options: ["", "tcp", "http"], words: { "": "off", tcp: "connect (tcp)", http: "request (http)" } }),
        key("healthCheck.path", "Path", "text", { placeholder: "/healthz" }),
        key("healthCheck.timeoutSeconds", "Timeout, seconds", "number", { placeholder: "3" }),
        key("healthCheck.intervalSeconds", "Interval, seconds", "number", { placeholder: "10" }),
        key("healthCheck.maxFailed", "Failures in a row", "number", { placeholder: "1" }),
      ],
    },
    {
      title: "Load balancing",
      folded: true,
      of: ["tcp", "http", "https", "tcpmux"],
      fields: [
        key("loadBalancer.group", "Group", "text"),
        key("loadBalancer.groupKey", "Key of the group", "secret"),
      ],
    },
    { title: "NAT traversal", folded: true, fields: [key("natTraversal.disableAssistedAddrs", "Keep addresses of the own network from visitors", "switch", { of: ["xtcp"] })] },
    {
      title: "Metadata",
      folded: true,
      fields: [
        key("annotations", "Annotations", "map", { hint: "For the server's operator. One a line, as name: value." }),
        key("metadatas", "Metadata", "map", { hint: "For the server's plugins. One a line, as name: value." }),
      ],
    },
  ],
  visitor: [
    {
      title: "Connection",
      fields: [
        key("serverName", "Name of the proxy", "text", { required: true }),
        key("serverUser", "Its user", "text", { hint: "Empty: the same user as this client's." }),
        key("secretKey", "Secret key", "secret", { hint: "What the proxy demands." }),
        key("bindAddr", "Address to listen on", "text", { placeholder: "127.0.0.1" }),
        key("bindPort", "Port to listen on", "number", { required: true, hint: "-1: none, for visitors that only take users over or have a plugin." }),
      ],
    },
    {
      title: "Virtual network",
      folded: true,
      of: ["stcp", "xtcp"],
      fields: [
        key("plugin.type", "Plugin", "choice", { options: ["", "virtual_net"], words: { "": "none", virtual_net: "virtual_net: a way for packets" } }),
        pluginKey("destinationIP", "Address at the other end", "text", ["virtual_net"], { placeholder: "100.86.0.1" }),
      ],
    },
    { title: "Transport", folded: true, fields: [encryption, compression] },
    {
      title: "Tunnel",
      of: ["xtcp"],
      fields: [
        key("protocol", "Made of", "choice", { options: ["", "quic", "kcp"], words: { "": "quic (default)" } }),
        key("keepTunnelOpen", "Open it before a user comes", "switch"),
        key("maxRetriesAnHour", "Tries an hour", "number", { placeholder: "8" }),
        key("minRetryInterval", "Seconds between tries", "number", { placeholder: "90" }),
        key("fallbackTo", "Visitor that takes over", "text"),
        key("fallbackTimeoutMs", "After, milliseconds", "number", { placeholder: "1000" }),
        key("natTraversal.disableAssistedAddrs", "Keep addresses of the own network from the other client", "switch"),
      ],
    },
  ],
};
