//! The rule of a charge, case by case.

use super::*;
use crate::domain::money::Rate;
use crate::domain::price::{Overlay, Price, Rates, Variant};

fn rates(pairs: &[(Class, u64)]) -> Rates {
    let mut rates = Rates::default();
    for (class, nano) in pairs {
        rates.set(*class, Rate::from_nano_per_million(nano * 1_000_000));
    }
    rates
}

fn priced(pairs: &[(Class, u64)]) -> Arc<Pricing> {
    Arc::new(Pricing::Priced(Price { base: rates(pairs), ..Price::default() }))
}

/// Ten nano-dollars for a token in, forty for one out.
fn chat() -> Arc<Pricing> {
    priced(&[(Class::Input, 10), (Class::Output, 40)])
}

fn used(input: u64, output: u64) -> Usage {
    Usage::default().with(Class::Input, input).with(Class::Output, output)
}

struct Case {
    endpoint: Endpoint,
    asked: Asked,
    pricing: Arc<Pricing>,
    prefer: bool,
}

impl Case {
    fn of(endpoint: Endpoint, pricing: Arc<Pricing>) -> Self {
        let asked = Asked {
            prompt_bytes: 40,
            characters: 30,
            audio_bytes: 32_000,
            images: 2,
            ..Asked::default()
        };
        Self { endpoint, asked, pricing, prefer: false }
    }

    fn charge(&self, metering: &Metering, fate: Fate) -> (u64, Metered) {
        let (bill, metered) = self.bill(metering, fate);
        (bill.cost.nano(), metered)
    }

    fn bill(&self, metering: &Metering, fate: Fate) -> (Bill, Metered) {
        let other = |model: &str| (model == "wise").then(|| priced(&[(Class::Input, 1_000)]));
        let dearest = |class| {
            let rate = Rate::from_nano_per_million(3_000_000_000);
            (class == Class::WebSearch).then(|| (rate, Arc::from("finder")))
        };
        let terms = Terms {
            endpoint: self.endpoint,
            asked: &self.asked,
            pricing: &self.pricing,
            other_price: &other,
            dearest: &dearest,
            prefer_provider_cost: self.prefer,
            held: Money::from_nano(999_999),
        };
        charge(&terms, metering, fate)
    }
}

#[test]
fn each_line_says_whose_list_its_rate_is_from() {
    let extra = |model: Option<&str>| Extra {
        model: model.map(Into::into),
        usage: used(1, 0),
        wanted: Wanted::default(),
    };
    let metering = stream(|report| {
        report.usage = Some(used(2, 1));
        report.extra = vec![extra(Some("wise")), extra(None), extra(Some("nobody"))];
    });
    let (bill, _) = Case::of(Endpoint::Messages, chat()).bill(&metering, Fate::Answered);
    let models: Vec<_> = bill.lines.iter().map(|line| line.model.as_deref()).collect();
    assert_eq!(models, [None, None, Some("wise"), None, None]);
    assert_eq!(bill.cost.nano(), 20 + 40 + 1_000 + 10 + 10);
    let taken_over = stream(|report| {
        report.usage = Some(used(2, 0));
        report.served_by = Some("wise".into());
    });
    let (bill, _) = Case::of(Endpoint::Messages, chat()).bill(&taken_over, Fate::Answered);
    assert_eq!((bill.lines[0].model.as_deref(), bill.cost.nano()), (Some("wise"), 2_000));
}

#[test]
fn an_image_costs_what_was_wanted_and_one_without_a_price_the_whole_hold() {
    let variant = |words, nano: u64| {
        Variant::new(Class::Image, words, Rate::from_nano_per_million(nano * 1_000_000)).unwrap()
    };
    let variants = vec![variant("1x1", 5), variant("hd 1x1", 9)];
    let pricing = Arc::new(Pricing::Priced(Price { variants, ..Price::default() }));
    for (size, quality, cost) in
        [("1x1", "", 10), ("1x1", "hd", 18), ("2x2", "hd", 999_999), ("auto", "hd", 18)]
    {
        let mut case = Case::of(Endpoint::ImageGenerations, Arc::clone(&pricing));
        case.asked.wanted = Wanted {
            image_size: Some(size.into()),
            image_quality: Some(quality.into()),
            search_context: None,
        };
        let report = AnswerReport { images: 2, ..AnswerReport::default() };
        let (charged, _) = case.charge(&Metering::from(&report), Fate::Answered);
        assert_eq!(charged, cost, "{size} {quality}");
    }
}

#[test]
fn what_the_provider_chose_counts_where_the_request_left_it_open() {
    let variant = |words, nano: u64| {
        Variant::new(Class::Image, words, Rate::from_nano_per_million(nano * 1_000_000)).unwrap()
    };
    let variants = vec![variant("low 1x1", 5), variant("hd 1x1", 9), variant("hd 2x2", 20)];
    let pricing = Arc::new(Pricing::Priced(Price { variants, ..Price::default() }));
    let cost = |asked: &str, quality: Option<&str>, size: Option<&str>| {
        let mut case = Case::of(Endpoint::ImageGenerations, Arc::clone(&pricing));
        case.asked.wanted.image_quality = Some(asked.into());
        let chosen = Wanted {
            image_size: size.map(Into::into),
            image_quality: quality.map(Into::into),
            search_context: None,
        };
        let report = AnswerReport { images: 2, chosen, ..AnswerReport::default() };
        case.charge(&Metering::from(&report), Fate::Answered).0
    };
    assert_eq!(cost("auto", Some("low"), Some("1x1")), 10);
    assert_eq!(cost("auto", Some("hd"), None), 40, "the dearest that it could be");
    assert_eq!(cost("hd", Some("low"), Some("1x1")), 18, "what was asked for goes first");
    assert_eq!(cost("auto", None, None), 40);
}

/// Nobody foresaw that a model without a price of searches would search.
#[test]
fn what_nobody_foresaw_is_charged_at_the_dearest_that_is_known_or_takes_the_hold() {
    let case = Case::of(Endpoint::Chat, chat());
    let told = |usage| {
        let report = AnswerReport { usage: Some(usage), ..AnswerReport::default() };
        case.bill(&Metering::from(&report), Fate::Answered)
    };
    let (bill, metered) = told(used(5, 2).with(Class::WebSearch, 2));
    assert_eq!((bill.cost.nano(), metered), (130 + 6_000, Metered::Reported));
    assert_eq!(bill.lines[2].model.as_deref(), Some("finder"));
    assert!(bill.unpriced_class);
    let (bill, _) = told(used(5, 2).with(Class::Image, 1));
    assert_eq!(bill.cost.nano(), 999_999, "nobody knows what an image costs");
    let mut unknown = Case::of(Endpoint::Chat, Arc::new(Pricing::Unknown));
    let report = AnswerReport {
        usage: Some(used(5, 2).with(Class::WebSearch, 2)),
        provider_cost: Some(Money::from_nano(77)),
        ..AnswerReport::default()
    };
    let metering = Metering::from(&report);
    assert_eq!(unknown.charge(&metering, Fate::Answered).0, 0, "who may call it has no limit");
    unknown.prefer = true;
    assert_eq!(unknown.charge(&metering, Fate::Answered).0, 77);
    let settled = Case { prefer: true, ..Case::of(Endpoint::Chat, chat()) };
    assert_eq!(settled.charge(&metering, Fate::Answered).0, 77, "the provider's figure has it all");
}

fn stream(change: impl FnOnce(&mut StreamReport)) -> Metering {
    let mut report = StreamReport::default();
    change(&mut report);
    Metering::from(&report)
}

#[test]
fn what_is_reported_is_charged_whatever_became_of_the_call() {
    let case = Case::of(Endpoint::Chat, chat());
    let answer = AnswerReport { usage: Some(used(5, 2)), ..AnswerReport::default() };
    for fate in [Fate::Answered, Fate::Refused] {
        assert_eq!(case.charge(&Metering::from(&answer), fate), (130, Metered::Reported));
    }
    let zero = AnswerReport { usage: Some(Usage::default()), ..AnswerReport::default() };
    assert_eq!(case.charge(&Metering::from(&zero), Fate::Answered), (0, Metered::Reported));
}

#[test]
fn the_providers_own_cost_counts_where_it_is_preferred() {
    let mut case = Case::of(Endpoint::Chat, chat());
    let report = AnswerReport {
        usage: Some(used(5, 2)),
        provider_cost: Some(Money::from_nano(77)),
        ..AnswerReport::default()
    };
    assert_eq!(case.charge(&Metering::from(&report), Fate::Answered).0, 130);
    case.prefer = true;
    assert_eq!(case.charge(&Metering::from(&report), Fate::Answered).0, 77);
}

#[test]
fn the_tier_that_was_served_and_the_whole_prompt_set_the_price() {
    let overlays = vec![
        Overlay {
            service: ServiceTier::Flex,
            above_input_tokens: 0,
            rates: rates(&[(Class::Input, 5)]),
        },
        Overlay {
            service: ServiceTier::Standard,
            above_input_tokens: 100,
            rates: rates(&[(Class::Input, 20)]),
        },
    ];
    let base = rates(&[(Class::Input, 10), (Class::CacheRead, 1)]);
    let price = Price { base, overlays, ..Price::default() };
    let case = Case::of(Endpoint::Chat, Arc::new(Pricing::Priced(price)));
    let cost = |usage: Usage, service| {
        let report = AnswerReport { usage: Some(usage), service, ..AnswerReport::default() };
        case.charge(&Metering::from(&report), Fate::Answered).0
    };
    assert_eq!(cost(used(60, 0), None), 600);
    assert_eq!(cost(used(60, 0), Some(ServiceTier::Flex)), 300);
    assert_eq!(cost(used(60, 0).with(Class::CacheRead, 41), None), 60 * 20 + 41);
}

#[test]
fn a_prompt_that_was_told_before_the_answer_broke_off_is_completed() {
    let case = Case::of(Endpoint::Messages, chat());
    let begun = |bytes: u64| {
        stream(|report| {
            report.usage = Some(used(100, 1));
            report.usage_of_start = true;
            report.content_bytes = bytes;
            report.content_events = 3;
        })
    };
    assert_eq!(case.charge(&begun(400), Fate::Answered), (1_000 + 4_000, Metered::Estimated));
    assert_eq!(case.charge(&begun(1), Fate::Answered), (1_000 + 120, Metered::Estimated));
    let zeros = stream(|report| {
        report.usage = Some(Usage::default());
        report.content_bytes = 8;
    });
    assert_eq!(case.charge(&zeros, Fate::Answered), (100 + 80, Metered::Estimated));
    let whole = stream(|report| {
        report.usage = Some(Usage::default());
        report.content_bytes = 8;
        report.done = true;
    });
    assert_eq!(case.charge(&whole, Fate::Answered), (0, Metered::Reported), "zero is a value");
}

#[test]
fn who_was_not_asked_or_refused_is_owed_nothing() {
    let case = Case::of(Endpoint::Chat, chat());
    let nothing = Metering::default();
    assert_eq!(case.charge(&nothing, Fate::NotSent), (0, Metered::Nothing));
    assert_eq!(case.charge(&nothing, Fate::Refused), (0, Metered::Nothing));
    assert_eq!(case.charge(&nothing, Fate::Answered), (100, Metered::Estimated));
    let broken = stream(|report| report.content_bytes = 4);
    assert_eq!(case.charge(&broken, Fate::Refused), (140, Metered::Estimated));
    assert_eq!(case.charge(&Metering::unreadable(), Fate::Answered), (999_999, Metered::Estimated));
}

#[test]
fn counting_costs_nothing_even_where_a_call_has_a_fee() {
    for endpoint in [Endpoint::CountTokens, Endpoint::GeminiCountTokens] {
        let case = Case::of(endpoint, priced(&[(Class::Input, 10), (Class::Call, 50)]));
        let outcome = case.charge(&Metering::unreadable(), Fate::Answered);
        assert_eq!(outcome, (0, Metered::Nothing));
    }
}

#[test]
fn what_the_totals_leave_out_has_its_own_price() {
    let case = Case::of(Endpoint::Messages, chat());
    let part = |model: Option<&str>, usage| Extra {
        model: model.map(Box::from),
        usage,
        wanted: Wanted::default(),
    };
    let report = AnswerReport {
        usage: Some(used(1, 1)),
        extra: vec![
            part(None, used(2, 0)),
            part(Some("wise"), used(3, 0)),
            part(Some("never heard of"), used(4, 0)),
        ],
        ..AnswerReport::default()
    };
    let (cost, metered) = case.charge(&Metering::from(&report), Fate::Answered);
    assert_eq!((cost, metered), (50 + 20 + 3_000 + 40, Metered::Reported));
    let taken_over = AnswerReport {
        usage: Some(used(3, 0)),
        served_by: Some("wise".into()),
        ..AnswerReport::default()
    };
    assert_eq!(case.charge(&Metering::from(&taken_over), Fate::Answered).0, 3_000);
}

#[test]
fn images_are_charged_by_tokens_or_each_as_they_are_sold() {
    let tokens = Usage::default().with(Class::Input, 3).with(Class::OutputImage, 100);
    let told = AnswerReport { usage: Some(tokens), images: 3, ..AnswerReport::default() };
    let untold = AnswerReport { images: 3, ..AnswerReport::default() };
    let by_token = Case::of(Endpoint::ImageGenerations, chat());
    let each = Case::of(Endpoint::ImageGenerations, priced(&[(Class::Image, 500)]));
    for (case, report, expected) in [
        (&by_token, &told, (30 + 4_000, Metered::Reported)),
        (&by_token, &untold, (999_999, Metered::Estimated)),
        (&each, &told, (1_500, Metered::Estimated)),
        (&each, &untold, (1_500, Metered::Estimated)),
    ] {
        assert_eq!(case.charge(&Metering::from(report), Fate::Answered), expected);
    }
    let cut = stream(|_| {});
    assert_eq!(each.charge(&cut, Fate::Answered).0, 1_000, "as many as were asked for");
}

#[test]
fn speech_is_charged_by_what_was_to_be_said() {
    let by_character = Case::of(Endpoint::Speech, priced(&[(Class::Character, 7)]));
    let by_token = Case::of(Endpoint::Speech, chat());
    let binary = Metering::unreadable();
    assert_eq!(by_character.charge(&binary, Fate::Answered), (210, Metered::Estimated));
    assert_eq!(by_token.charge(&binary, Fate::Answered), (80 + 45 * 40, Metered::Estimated));
    let told = stream(|report| {
        report.usage = Some(Usage::default().with(Class::Input, 5).with(Class::OutputAudio, 9));
        report.done = true;
    });
    assert_eq!(by_token.charge(&told, Fate::Answered), (50 + 360, Metered::Reported));
    assert_eq!(by_character.charge(&told, Fate::Answered).0, 210);
    assert_eq!(by_token.charge(&binary, Fate::Refused), (0, Metered::Nothing));
}

#[test]
fn transcripts_are_charged_by_what_was_heard() {
    let by_time = Case::of(Endpoint::Transcriptions, priced(&[(Class::AudioMillisecond, 2)]));
    let by_token = Case::of(Endpoint::Transcriptions, chat());
    let duration = Usage::default().with(Class::AudioMillisecond, 1_500);
    let timed = AnswerReport { usage: Some(duration), ..AnswerReport::default() };
    let untold = AnswerReport { content_bytes: 8, ..AnswerReport::default() };
    for (case, report, expected) in [
        (&by_time, &timed, (3_000, Metered::Reported)),
        (&by_token, &timed, (100 + 26 * 10, Metered::Estimated)),
        (&by_time, &untold, (4_000, Metered::Estimated)),
        (&by_token, &untold, (100 + 80 + 34 * 10, Metered::Estimated)),
    ] {
        assert_eq!(case.charge(&Metering::from(report), Fate::Answered), expected);
    }
}

#[test]
fn a_free_model_costs_nothing_and_is_counted_all_the_same() {
    let case = Case::of(Endpoint::Chat, Arc::new(Pricing::Free));
    let answer = AnswerReport { usage: Some(used(5, 2)), ..AnswerReport::default() };
    assert_eq!(case.charge(&Metering::from(&answer), Fate::Answered), (0, Metered::Reported));
}
