// The same with Twilio's Programmable Chat client, which has other names for it:
//
//     node updated/chat.mjs TOKEN USER [SERVER]

import Chat from "twilio-chat";

const [token, identity, uri = "ws://127.0.0.1:8080/v3/wsconnect"] = process.argv.slice(2);
const client = await Chat.Client.create(token, { Twilsock: { uri } });

const user = await client.getUser(identity);
console.log(`${identity}: online ${user.online}, notifiable ${user.notifiable}`);
user.on("updated", ({ user, updateReasons }) => {
  for (const reason of updateReasons) {
    switch (reason) {
      case "online":
        console.log(`${identity}: online ${user.online}`);
        break;
      case "notifiable":
        console.log(`${identity}: notifiable ${user.notifiable}`);
        break;
      default:
        console.log(`${identity}: ${reason} ${JSON.stringify(user[reason])}`);
    }
  }
});
