import KeelCore

/// A C function of a shared library that scores rows and knows nothing of Keel.
package struct NativeFunction: Sendable, Equatable {
    /// The file that holds it.
    package let library: String
    package let symbol: String
    package let signature: NativeSignature

    package init(library: String, symbol: String, signature: NativeSignature) {
        self.library = library
        self.symbol = symbol
        self.signature = signature
    }

    /// A function as a command line names it.
    ///
    /// - Parameter place: what messages call the signature.
    /// - Throws: `KeelError` or `KeelErrors` (usage) for a signature that cannot be read, (unavailable) for a
    ///   library that is not there.
    package init(library: String, symbol: String, signature: String, place: String) throws {
        do throws(NativeSignature.Problems) {
            self.signature = try NativeSignature(signature)
        } catch {
            throw KeelErrors(
                error.list.map {
                    KeelError(
                        "native", $0.what, at: "\(place), character \($0.position)", fix: $0.fix,
                        code: .usage)
                })
        }
        guard let file = NativeFunction.find(library: library) else {
            throw KeelError(
                "native", "no such library: \(library)", at: library,
                fix: "check the path, or give a name that the loader knows (libm.so.6)",
                code: .unavailable)
        }
        self.library = file
        self.symbol = symbol
    }

    /// `double bleu(const char *response, ...)`, as the signature understands the function.
    package var declaration: String { signature.declaration(of: symbol) }

    // MARK: - Finding the library

    /// What to do about a library that is not found.
    package static let nameHint =
        "check the path, relative to the config file; or give a name that the loader knows (libm.so.6)"

    /// The file that a library's name means: a path, or a name that the system's loader knows.
    ///
    /// - Returns: nil when there is none.
    package static func find(library name: String) -> String? {
        if Files.isRegular(name) { return Files.absolute(name) }
        guard !name.contains("/") else { return nil }
        #if arch(arm64)
            let machine = "aarch64-linux-gnu"
        #else
            let machine = "x86_64-linux-gnu"
        #endif
        let given = (Files.environment("LD_LIBRARY_PATH") ?? "").split(separator: ":").map(
            String.init)
        let system = ["lib/\(machine)", "lib64", "lib"].flatMap {
            ["/usr/local/\($0)", "/\($0)", "/usr/\($0)"]
        }
        return (given + system).map { Files.join($0, name) }.first(where: Files.isRegular)
    }

    // MARK: - As a reward

    /// The reward that the function is.
    ///
    /// The library is read, not loaded.
    ///
    /// - Throws: `KeelError` (unavailable) when the file is no shared library, or holds no such function.
    package func component() throws -> Component {
        guard Files.isRegular(library) else {
            throw KeelError(
                "native", "there is no library \(library)", at: library,
                fix: "give its path, or the name of an installed one (libm.so.6)",
                code: .unavailable)
        }
        let hash = try check()
        return Component(
            kind: .reward, name: symbol,
            help: "The C function \(symbol) of \(Files.name(library)).", data: nil,
            needs: signature.arguments.contains { $0.source == .tokens } ? ["tokens"] : [],
            gives: [], heads: [], reduction: nil,
            parameters: signature.parameters.map { name, kind in
                Parameter(
                    name: name, kind: kind.parameter, fallback: .null, range: nil, choices: [],
                    help: "An argument of the function.")
            },
            phases: [], flags: [], sequenceBytes: 0, stateVersion: 0,
            callbacks: ["create", "destroy", "score"], pluginID: "native", pluginVersion: "",
            api: 0, path: library, sha256: hash, isBuiltIn: false, native: self)
    }

    /// Looks into the file.
    ///
    /// - Returns: its hash.
    private func check() throws -> String {
        let file = try MappedFile(library)
        return try withExtendedLifetime(file) {
            let symbols: [ELFFile.Symbol]?
            do {
                symbols = try ELFFile(file).symbols()
            } catch var error as KeelError {
                error.area = "native"
                if error.what.hasSuffix("(no ELF header)") {
                    error.fix =
                        "name the library itself (a file such as libm.so can be a text that names it: libm.so.6)"
                }
                throw error
            }
            if let symbols { try look(for: symbol, in: symbols) }
            return SHA256.hex(file.bytes)
        }
    }

    private func look(for symbol: String, in symbols: [ELFFile.Symbol]) throws {
        if let found = symbols.first(where: { $0.name == symbol }) {
            guard !found.isFunction else { return }
            throw KeelError(
                "native", "\"\(symbol)\" of \(Files.name(library)) is data, not a function",
                at: library, fix: "name a function", code: .unavailable)
        }
        let functions = Set(symbols.lazy.filter(\.isFunction).map(\.name)).sorted()
        throw KeelError(
            "native", "\(Files.name(library)) exports no function \"\(symbol)\"", at: library,
            fix: NativeFunction.hint(symbol, among: functions), code: .unavailable)
    }

    /// What else the name could mean.
    private static func hint(_ symbol: String, among functions: [String]) -> String {
        if let near = nearest(symbol, among: functions) { return "did you mean \"\(near)\"?" }
        // C++ adds the types to the name: bleu -> _Z4bleuPKc.
        let mangled = "_Z\(symbol.utf8.count)\(symbol)"
        if let own = functions.first(where: { $0.hasPrefix(mangled) }) {
            return "it is a C++ function: declare it extern \"C\", or name it \"\(own)\""
        }
        guard !functions.isEmpty else { return "it exports no function at all" }
        let first = functions.prefix(8).joined(separator: ", ")
        return "it exports \(first)\(functions.count > 8 ? " and \(functions.count - 8) more" : "")"
    }

    /// Checks the parameters: those that the signature names, all of them, of the right types.
    ///
    /// - Parameter placeOf: where a parameter stands, for messages; "" is the place of all of them.
    /// - Throws: `KeelError`, or `KeelErrors` when several are wrong.
    package func validate(
        params: JSONObject, placeOf: (String) -> String?
    ) throws -> ParameterValues {
        let wanted = signature.parameters
        let names = wanted.map(\.name)
        let title = "native function \"\(symbol)\""
        var errors: [KeelError] = []
        for key in params.keys where !names.contains(key) {
            let near = nearest(key, among: names).map { "did you mean \"\($0)\"? " } ?? ""
            errors.append(
                KeelError(
                    "native", "the signature of \(title) does not use the parameter \"\(key)\"",
                    at: placeOf(key),
                    fix: near
                        + (names.isEmpty
                            ? "give it to the function with an argument TYPE param:\(key)"
                            : "it uses: \(names.joined(separator: ", "))")))
        }
        var values = JSONObject()
        for (name, kind) in wanted {
            guard let value = params[name] else {
                errors.append(
                    KeelError(
                        "native", "\(title) needs the parameter \"\(name)\"", at: placeOf(""),
                        fix: "add \"\(name)\": \(kind.example) to \"params\""))
                continue
            }
            guard let taken = kind.checked(value) else {
                errors.append(
                    KeelError(
                        "native",
                        "parameter \"\(name)\" of \(title) is \(value.text()), but its signature takes \(kind.expected)",
                        at: placeOf(name), fix: "give it \(kind.expected), or change its type"))
                continue
            }
            values.append(name, taken)
        }
        try KeelErrors(errors).throwIfAny()
        return ParameterValues(values: values)
    }
}

extension NativeSignature.Kind {
    var parameter: Parameter.Kind {
        switch self {
        case .f64, .f32: .number
        case .i64, .i32: .integer
        default: .string
        }
    }

    var expected: String {
        switch self {
        case .f64: "a number"
        case .f32: "a number that a float holds"
        case .i64: "an integer"
        case .i32: "an integer of 32 bits"
        default: "a string"
        }
    }

    fileprivate var example: String { isNumber ? "4" : "\"...\"" }

    /// The value as the function can take it; nil when it cannot.
    fileprivate func checked(_ value: JSON) -> JSON? {
        switch self {
        case .f64: return value.double.map { JSON.double($0) }
        case .f32:
            guard let number = value.double, Float(number).isFinite else { return nil }
            return JSON.double(number)
        case .i64: return value.int.map { JSON($0) }
        case .i32:
            guard let number = value.int, Int32(exactly: number) != nil else { return nil }
            return JSON(number)
        default:
            guard let text = value.string, !text.utf8.contains(0) else { return nil }
            return JSON.string(text)
        }
    }
}
