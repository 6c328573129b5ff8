const PATH = "/v1/Socket";

/** The socket's URL. A server's address is completed; the whole address of a socket is taken as it is. */
export function socketUrl(address) {
  const url = new URL(address);
  if (!/^(https?|wss?):$/.test(url.protocol)) throw new TypeError(`"${address}" is not the address of a server.`);
  const isServer = url.protocol.startsWith("http") || url.pathname === "/";
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = "";
  if (isServer && !url.pathname.endsWith(PATH)) url.pathname = url.pathname.replace(/\/*$/, PATH);
  return url.href;
}
