// The server's dashboard: which screens there are.

import { connectionsScreen } from "../common/connections.js";
import { logScreen } from "../common/log.js";
import { begin } from "../common/shell.js";
import { bansScreen } from "./bans.js";
import { clientScreen, clientsScreen, usersScreen } from "./clients.js";
import { links } from "./links.js";
import { overviewScreen } from "./overview.js";
import { proxiesScreen, proxyScreen } from "./proxies.js";

begin({
  title: "mgrok server",
  end: "Server",
  menu: [
    { to: "/", label: "Overview", icon: "overview" },
    { to: "/clients", label: "Clients", icon: "clients" },
    { to: "/proxies", label: "Proxies", icon: "proxies", also: ["/proxies", "/proxy"] },
    { to: "/connections", label: "Connections", icon: "connections" },
    { to: "/bans", label: "Bans", icon: "bans" },
    { to: "/users", label: "Users", icon: "users" },
    { to: "/log", label: "Log", icon: "log" },
  ],
  routes: [
    ["/", overviewScreen],
    ["/clients", clientsScreen],
    ["/clients/:key", clientScreen],
    ["/proxies/:type?", proxiesScreen],
    ["/proxy/:name", proxyScreen],
    ["/connections", connectionsScreen(links)],
    ["/bans", bansScreen],
    ["/users", usersScreen],
    ["/log", logScreen],
  ],
});
