// xiaomi-push has no option for the host: the table of its addresses is changed before use. The
// trust root comes with NODE_EXTRA_CA_CERTS.
import assert from 'node:assert/strict';
import addresses from 'xiaomi-push/lib/constant.js';
import xiaomi from 'xiaomi-push';
import { TITLE, TEXT, credential, endpoint, shown, uninstall } from './world.mjs';

const phone = 'xm-regid-of+a/phone==';
const gone = 'xm-regid-of-nobody';
const { app_secret: appSecret, package_name: packageName } = credential('certs/xiaomi');
addresses.notificationAPI.regid = new URL('/v2/message/regid', endpoint('xiaomi')).href;
const sender = new xiaomi.Notification({ production: true, appSecret });

const message = () =>
    new xiaomi.Message()
        .title(TITLE)
        .description(TEXT)
        .payload('open/chat-7')
        .passThrough(0)
        .notifyType(-1)
        .notifyId(7)
        .timeToLive(3_600_000)
        .restrictedPackageName(packageName)
        .extra('channel_id', '130001')
        .extra('notify_effect', '1');

await uninstall('xiaomi', gone);
const answer = await sender.send([phone, gone], message());
assert.ok(answer.data.id);
assert.equal(answer.data.bad_regids, gone);
const seen = await shown('xiaomi', phone);
assert.equal(seen.ext, 'open/chat-7');
assert.equal(seen.replaces, '7');
await assert.rejects(sender.send(gone, message()), /20301/);
console.log('ok xiaomi-push');
