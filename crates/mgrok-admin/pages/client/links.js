// Where things are shown in the client's dashboard.

import { part } from "../common/api.js";

export const links = {
  proxyLink: (name) => `#/proxies/detail/${part(name)}`,
  visitorLink: (name) => `#/visitors/detail/${part(name)}`,
  requestLink: (id) => `#/requests/${part(id)}`,
};
