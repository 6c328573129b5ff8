export { ReachabilityClient } from "./client.js";
export { ReachabilityError } from "./error.js";
