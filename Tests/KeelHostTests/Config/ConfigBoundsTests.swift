import KeelCore
import Testing

@testable import KeelHost

/// Every number that a config can hold, at its edges and beyond them: an error or a run, and no end of the process.
extension PhaseRunTests {
    private struct Number {
        var path: String
        var isInteger: Bool
        var bounds: Bounds
    }

    /// The numbers of the schema, by the path that `--set` takes.
    private static func numbers(_ keys: [any AnyKey], _ path: String = "") -> [Number] {
        keys.flatMap { key -> [Number] in
            let own = path.isEmpty ? key.spec.name : "\(path).\(key.spec.name)"
            if let inner = key.sections {
                let isList = key.schema["type"] == "array"
                let isNamed = key.schema["additionalProperties"]?.object != nil
                return numbers(inner, own + (isList ? ".0" : isNamed ? ".policy" : ""))
            }
            let schema = key.schema["anyOf"]?[0] ?? .object(key.schema)
            guard schema["type"] == "integer" || schema["type"] == "number" else { return [] }
            return [
                Number(
                    path: own, isInteger: schema["type"] == "integer", bounds: key.spec.bounds)
            ]
        }
    }

    private static let all = numbers(RunConfig().keys)

    private func online() throws -> String {
        try config(
            "actor_critic",
            """
            "rewards": [{ "plugin": "\(try PhaseBench.library.get())#brief" }],
            """, train: "\"num_generations\": 2,")
    }

    /// What the reader says of one override.
    private func errors(_ file: String, _ override: String) -> [KeelError] {
        do {
            _ = try RunConfig.load(file, overrides: [override])
            return []
        } catch let error as KeelError {
            return [error]
        } catch {
            return (error as? KeelErrors)?.errors ?? []
        }
    }

    @Test func integersHaveAnEnd() throws {
        let file = try online()
        #expect(Self.all.count > 70, "\(Self.all.count) numbers found")
        for number in Self.all {
            for text in ["-1e300", "1e300", "9223372036854775807", "2147483648", "-1", "0"] {
                let found = errors(file, "\(number.path)=\(text)")
                guard number.isInteger, number.path != "train.seed", let value = Double(text),
                    value > 1e9
                else { continue }
                let key = "key \(number.path.replacing(".0.", with: "[0]."))"
                #expect(
                    found.contains { $0.at?.contains(key) == true },
                    "\(number.path)=\(text): \(found)")
            }
        }
    }

    /// The largest that each may be, through all that `keel check` does before it rehearses.
    @Test func theLargestNumbersCanBePlannedWith() throws {
        let files = [try online(), try config("two_phases")]
        // As many threads are for larger machines than this; a share has its own limits.
        for number in Self.all
        where number.path != "train.threads" && (number.isInteger || number.bounds.high == nil) {
            let high = number.bounds.high ?? (number.isInteger ? 0x1p62 : 1e300)
            let text = number.isInteger ? "\(Int(high))" : "\(high)"
            for file in files {
                var options = TrainCommand.Options(configPath: file)
                options.overrides = ["\(number.path)=\(text)"]
                do {
                    _ = try CheckCommand.run(options, rehearse: false)
                } catch let error as KeelError {
                    #expect(error.code != .internalBug, "\(number.path)=\(text): \(error)")
                } catch {
                    #expect(error is KeelErrors, "\(number.path)=\(text): \(error)")
                }
            }
        }
    }
}
