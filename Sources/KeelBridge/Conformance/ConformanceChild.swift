import Glibc
import KeelCore

/// The process of one test: loads the plugin, runs the test, writes the answer.
package enum ConformanceChild {
    /// What the process is asked to do.
    package struct Order: Sendable {
        package var path: String
        package var test: String
        package var component: String?
        package var seed: UInt64
        package var params: JSONObject
        package var timeout: Double

        package init(
            path: String, test: String, component: String?, seed: UInt64, params: JSONObject,
            timeout: Double
        ) {
            self.path = path
            self.test = test
            self.component = component
            self.seed = seed
            self.params = params
            self.timeout = timeout
        }
    }

    /// Runs the test and ends the process without running what plugins have set up for its end.
    package static func run(_ order: Order, catalog: PluginCatalog) -> Never {
        TestProcess.limitSelf(timeout: order.timeout)
        let answer = answer(order, catalog)
        let line = Array((answer.text() + "\n").utf8)
        _ = line.withUnsafeBytes {
            Glibc.write(TestProcess.answerDescriptor, $0.baseAddress, $0.count)
        }
        fflush(nil)
        _exit(0)
    }

    private static func answer(_ order: Order, _ catalog: PluginCatalog) -> JSON {
        guard let test = ConformanceTest.all.first(where: { $0.id == order.test }) else {
            return finding(.fail("there is no test \(order.test)"))
        }
        HostProbe.install()
        var component: Component?
        do {
            if let name = order.component {
                component = try Library.open(order.path).map(\.component).first { $0.name == name }
            }
        } catch {
            return finding(.fail(Trial.words(error)))
        }
        let trial = Trial(
            path: order.path, component: component, catalog: catalog, seed: order.seed,
            params: order.params, timeout: order.timeout, trail: TestProcess.answerDescriptor,
            test: test.id)
        do {
            try test.run(trial)
            var object: JSONObject = [
                "level": "pass", "what": .string(trial.notes.joined(separator: "; ")),
                "facts": .object(trial.facts),
            ]
            if trial.isComparable { object["digest"] = .string(trial.digest.hex()) }
            return .object(object)
        } catch let found as Finding {
            return finding(found)
        } catch let error as KeelError {
            return finding(.fail(error.what, fix: error.fix))
        } catch {
            return finding(.fail(Trial.words(error)))
        }
    }

    private static func finding(_ finding: Finding) -> JSON {
        var object: JSONObject = [
            "level": .string(finding.level.rawValue), "what": .string(finding.what),
        ]
        if let fix = finding.fix { object["fix"] = .string(fix) }
        return .object(object)
    }
}
