// Where things are shown in the server's dashboard.

import { part } from "../common/api.js";

export const links = {
  proxyLink: (name) => `#/proxy/${part(name)}`,
  clientLink: (key) => `#/clients/${part(key)}`,
};

/** The key of the client that publishes a proxy. */
export const clientKey = ({ user, clientID }) => (user && clientID ? `${user}.${clientID}` : (clientID ?? ""));
