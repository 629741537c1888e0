import KeelCore
import KeelHost
import KeelTestSupport
import Testing

/// How components are run: `rewards[].run` and `order.run`.
@Suite struct WorkerConfigTests {
    let fixture: ConfigFixture

    init() throws { fixture = try ConfigFixture() }

    private func text(_ run: String, order: String = "{}") -> String {
        "{ \(ConfigFixture.sections), \"rewards\": [{\"plugin\": \"a\", \"run\": \(run)}], "
            + "\"order\": {\"run\": \(order)} }"
    }

    @Test func everyKeyIsRead() throws {
        let config = try fixture.load(
            text(
                """
                {"isolate": "worker", "workers": 3, "timeout_s": 0.5, "max_rss_mb": 64,
                 "recycle_after": 100, "on_error": "constant", "constant": -1}
                """, order: "{\"isolate\": \"none\"}"))
        let run = config.rewards[0].run
        #expect(run.isolate == .worker)
        #expect(run.workers == 3)
        #expect(run.timeoutSeconds == 0.5)
        #expect(run.maxRSSMegabytes == 64)
        #expect(run.recycleAfter == 100)
        #expect(run.onError == .constant)
        #expect(run.constant == -1)
        #expect(config.order.run.isolate == .none)
    }

    @Test func aWorkerIsTheDefault() throws {
        let config = try fixture.load(text("{}"))
        #expect(config.rewards[0].run.isolate == .worker)
        #expect(config.rewards[0].run.timeoutSeconds == 60)
        #expect(config.rewards[0].run.onError == .stop)
        #expect(config.order.run.isolate == .worker)
    }

    @Test(arguments: [
        ("\"workers\": 2", "workers"), ("\"timeout_s\": 5", "timeout_s"),
        ("\"max_rss_mb\": 100", "max_rss_mb"), ("\"recycle_after\": 9", "recycle_after"),
        ("\"on_error\": \"drop_row\"", "on_error"),
    ])
    func whatNeedsAWorkerIsRefusedWithoutOne(setting: String, key: String) throws {
        let errors = try fixture.errors(text("{\"isolate\": \"none\", \(setting)}"))
        #expect(
            errors.map(\.what) == [
                "rewards[0].run.\(key) has no effect: \"isolate\": \"none\" runs without a worker"
            ])
        #expect(errors.first?.at?.hasSuffix("key rewards[0].run.\(key)") == true)
        #expect(errors.first?.fix == "remove it, or remove \"isolate\": \"none\"")
    }

    @Test(arguments: [
        (
            "{\"constant\": 3}", "{}",
            "rewards[0].run.constant is set, but on_error is not \"constant\""
        ),
        ("{\"workers\": 0}", "{}", "rewards[0].run.workers is 0; it must be from 1 to 256"),
        ("{\"timeout_s\": 0}", "{}", "rewards[0].run.timeout_s is 0; it must be above 0"),
        (
            "{\"max_rss_mb\": 1}", "{}",
            "rewards[0].run.max_rss_mb is 1; it must be from 16 to 1000000000"
        ),
        (
            "{\"isolate\": \"wroker\"}", "{}",
            "rewards[0].run.isolate is \"wroker\"; it takes \"worker\" or \"none\""
        ),
        (
            "{}", "{\"isolate\": \"none\", \"timeout_s\": 1}",
            "order.run.timeout_s has no effect: \"isolate\": \"none\" runs without a worker"
        ),
    ])
    func mistakesAreNamed(run: String, order: String, what: String) throws {
        #expect(try fixture.errors(text(run, order: order)).map(\.what) == [what])
    }
}
