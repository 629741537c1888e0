import KeelBridge
import KeelCore

/// `rewards[].native`: a C function that knows nothing of Keel, as a reward.
package struct NativeConfig: ConfigSection {
    @Key(
        "library", required: .library,
        "The shared library: a path, or a name that the loader finds.")
    package var library: String

    @Key(required: "symbol", "The function's name in the library.") package var symbol: String

    @Key(
        required: "signature",
        "What it returns and takes: RETURN(TYPE SOURCE, ...), as f64(str response, str field:/reference)."
    )
    package var signature: String

    package init() {}

    /// The reward that the function is; nil after telling the reader what is wrong.
    ///
    /// - Parameters:
    ///   - params: the reward's parameters: the arguments `param:NAME` of the signature.
    ///   - section: the entry of the config that this belongs to, `rewards.0`.
    func choice(
        params: JSONObject, at section: String, _ reader: ConfigReader
    ) -> RunPlugins.Choice? {
        let place = "\(section).native"
        let signature = signature.isEmpty ? nil : readSignature(at: "\(place).signature", reader)
        // What is missing, or is no library, has been told of by the reader.
        guard let signature, !library.isEmpty, !symbol.isEmpty else {
            if !reader.hasError(at: place) {
                reader.report(
                    "\(reader.shown(place)) is incomplete", at: place,
                    fix: "give it \"library\", \"symbol\" and \"signature\"")
            }
            return nil
        }
        let function = NativeFunction(library: library, symbol: symbol, signature: signature)
        var component: Component?
        do {
            component = try function.component()
        } catch let error as KeelError {
            // A name that the library lacks is the symbol's mistake, all else the library's.
            let key = error.what.contains("\"\(symbol)\"") ? "symbol" : "library"
            reader.add(
                KeelError(
                    "config", error.what,
                    at: "\(reader.places.place(of: "\(place).\(key)")): \(library)",
                    fix: error.fix, code: error.code))
        } catch {
            reader.report("\(error)", at: place, code: .unavailable)
        }
        var parameters: ParameterValues?
        reader.collect {
            parameters = try function.validate(params: params) {
                reader.places.place(
                    of: $0.isEmpty ? "\(section).params" : "\(section).params.\($0)")
            }
        }
        guard let component, let parameters else { return nil }
        return RunPlugins.Choice(component: component, parameters: parameters)
    }

    private func readSignature(at place: String, _ reader: ConfigReader) -> NativeSignature? {
        do throws(NativeSignature.Problems) {
            return try NativeSignature(signature)
        } catch {
            for problem in error.list {
                reader.report(
                    "\(reader.shown(place)), character \(problem.position): \(problem.what)",
                    at: place, fix: problem.fix)
            }
            return nil
        }
    }
}

extension RewardConfig {
    package static func schema(_ spec: KeySpec) -> JSONObject {
        var schema = ConfigSchema.object(RewardConfig().keys)
        schema["oneOf"] = [["required": ["plugin"]], ["required": ["native"]]]
        return schema
    }

    /// Exactly one of `plugin` and `native`, and a native function in a worker.
    func checkSource(at path: String, _ reader: ConfigReader) {
        let shown = reader.shown(path)
        guard native != nil else {
            guard plugin == nil, !reader.hasError(at: "\(path).plugin"),
                !reader.hasError(at: "\(path).native")
            else { return }
            reader.report(
                "\(shown) names no reward", at: path,
                fix: "add \"plugin\": \"...\" (a plugin's name or path), or \"native\": {...}")
            return
        }
        if plugin != nil {
            reader.report(
                "\(shown) has both \"plugin\" and \"native\"", at: "\(path).native",
                fix: "keep one of them")
        }
        if run.isolate == .none {
            reader.report(
                "\(shown).run.isolate is \"none\", but a native function always runs in a worker",
                at: "\(path).run.isolate",
                fix: "remove it: a signature that does not fit the function would end the run")
        }
    }
}
