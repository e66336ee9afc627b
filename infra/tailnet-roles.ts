/** Setting `funnel.tailnet`: which role a member of the tailnet has at the door, by login or by the domain of it. */
import { z } from "zod";

/**
 * Domains under which anybody can have a login: to name one would be to invite the world. Those of identity providers
 * that Tailscale itself takes (`ada@github`, `ada@passkey`) among them.
 */
const PUBLIC_DOMAINS: ReadonlySet<string> = new Set(
	`github passkey apple.com privaterelay.appleid.com icloud.com me.com mac.com
	gmail.com googlemail.com google.com
	outlook.com outlook.de hotmail.com hotmail.co.uk hotmail.de hotmail.fr live.com msn.com passport.com
	yahoo.com yahoo.co.uk yahoo.co.jp yahoo.co.in yahoo.de yahoo.fr ymail.com rocketmail.com aol.com
	proton.me protonmail.com pm.me tutanota.com tuta.io tutamail.com fastmail.com hey.com zoho.com mail.com
	gmx.com gmx.net gmx.de gmx.at gmx.ch web.de t-online.de freenet.de mailbox.org posteo.de
	orange.fr free.fr laposte.net wanadoo.fr libero.it virgilio.it tin.it
	mail.ru bk.ru inbox.ru list.ru yandex.ru yandex.com ya.ru rambler.ru ukr.net seznam.cz wp.pl o2.pl onet.pl interia.pl
	qq.com foxmail.com 163.com 126.com yeah.net sina.com sohu.com aliyun.com 139.com naver.com daum.net hanmail.net
	rediffmail.com comcast.net verizon.net att.net bell.net sbcglobal.net cox.net charter.net btinternet.com
	mailinator.com guerrillamail.com 10minutemail.com yopmail.com temp-mail.org`.split(/\s+/),
);

const LOGIN = /^[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9-]+(\.[a-z0-9-]+)*$/;
const DOMAIN = /^@[a-z0-9-]+(\.[a-z0-9-]+)*$/;

const role = z.enum(["viewer", "editor", "admin"]);

/** A whole domain gives viewer or editor: an admin is a person. */
const mayHave = (who: string, role: string): boolean =>
	who.startsWith("@")
		? DOMAIN.test(who) && !PUBLIC_DOMAINS.has(who.slice(1)) && role !== "admin"
		: LOGIN.test(who);

export const tailnetRoles = {
	schema: z
		.string()
		.max(65_536)
		.transform((value, context) => {
			try {
				return JSON.parse(value.toLowerCase()) as unknown;
			} catch {
				context.addIssue({ code: "custom", message: "is not JSON" });
				return z.NEVER;
			}
		})
		.pipe(
			z
				.record(z.string(), role)
				.refine((roles) => Object.entries(roles).every(([who, role]) => mayHave(who, role))),
		),
	expects:
		'a JSON object of logins and roles, such as {"ada@example.org": "admin", "@example.org": "viewer"}; a domain is one of your own (no gmail.com) and gives viewer or editor',
};
