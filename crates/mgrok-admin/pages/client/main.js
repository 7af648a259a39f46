// The client's dashboard: which screens there are.

import { connectionsScreen } from "../common/connections.js";
import { logScreen } from "../common/log.js";
import { begin } from "../common/shell.js";
import { configScreen } from "./config.js";
import { editScreen } from "./editor.js";
import { links } from "./links.js";
import { overviewScreen } from "./overview.js";
import { proxiesScreen, proxyScreen } from "./proxies.js";
import { requestScreen, requestsScreen } from "./requests.js";
import { storeScreen } from "./store.js";
import { visitorScreen, visitorsScreen } from "./visitors.js";

begin({
  title: "mgrok client",
  end: "Client",
  menu: [
    { to: "/", label: "Overview", icon: "overview" },
    { to: "/proxies", label: "Proxies", icon: "proxies" },
    { to: "/visitors", label: "Visitors", icon: "visitors" },
    { to: "/connections", label: "Connections", icon: "connections" },
    { to: "/requests", label: "Requests", icon: "requests" },
    { to: "/store", label: "Store", icon: "store" },
    { to: "/config", label: "Configuration", icon: "config" },
    { to: "/log", label: "Log", icon: "log" },
  ],
  routes: [
    ["/", overviewScreen],
    ["/proxies", proxiesScreen],
    ["/proxies/create", editScreen("proxy")],
    ["/proxies/:name/edit", editScreen("proxy")],
    ["/proxies/detail/:name", proxyScreen],
    ["/visitors", visitorsScreen],
    ["/visitors/create", editScreen("visitor")],
    ["/visitors/:name/edit", editScreen("visitor")],
    ["/visitors/detail/:name", visitorScreen],
    ["/connections", connectionsScreen(links)],
    ["/requests", requestsScreen],
    ["/requests/:id", requestScreen],
    ["/store", storeScreen],
    ["/config", configScreen],
    ["/log", logScreen],
  ],
});
