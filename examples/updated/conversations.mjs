// Tells when a user comes, goes, and can be notified, with Twilio's Conversations client:
//
//     node updated/conversations.mjs TOKEN USER [SERVER]

import Conversations from "@twilio/conversations";

const [token, identity, uri = "ws://127.0.0.1:8080/v3/wsconnect"] = process.argv.slice(2);
const client = new Conversations.Client(token, { Twilsock: { uri } });

client.on("connectionError", ({ message, terminal }) => {
  console.error(message);
  if (terminal) process.exit(1);
});

client.on("initialized", async () => {
  const user = await client.getUser(identity);
  console.log(`${identity}: online ${user.isOnline}, notifiable ${user.isNotifiable}`);
  user.on("updated", ({ user, updateReasons }) => {
    // Either of them is null while it is not known, and while reachability is off.
    for (const reason of updateReasons) {
      switch (reason) {
        case "reachabilityOnline":
          console.log(`${identity}: online ${user.isOnline}`);
          break;
        case "reachabilityNotifiable":
          console.log(`${identity}: notifiable ${user.isNotifiable}`);
          break;
        default:
          console.log(`${identity}: ${reason} ${JSON.stringify(user[reason])}`);
      }
    }
  });
});
