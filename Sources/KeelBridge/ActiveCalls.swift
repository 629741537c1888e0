import CSystem
import Glibc
import KeelCore
import Synchronization

/// A plugin's callback that has not returned yet.
package struct ActiveCall: Sendable, Equatable {
    /// One number per callback entered: the same number is the same callback.
    package var entry: UInt64
    /// `objective "dpo"`.
    package var component: String
    package var path: String
    /// `loss`.
    package var callback: String
    /// nil for a callback of no step.
    package var step: Int?

    package init(entry: UInt64, component: String, path: String, callback: String, step: Int?) {
        self.entry = entry
        self.component = component
        self.path = path
        self.callback = callback
        self.step = step
    }

    /// Where an error says it happened.
    package var place: String { "\(path), \(callback)" + (step.map { ", step \($0)" } ?? "") }
}

/// The callbacks under way in this process, for those who watch over them from outside: another thread, and the
/// handler of the signal that the process dies of.
package enum ActiveCalls {
    /// Texts of a component that live as long as the process; one copy of each.
    struct Names: @unchecked Sendable {
        let component: UnsafePointer<CChar>
        let path: UnsafePointer<CChar>

        init(component: String, path: String) {
            self.component = ActiveCalls.immortal(component)
            self.path = ActiveCalls.immortal(path)
        }
    }

    private struct Text: @unchecked Sendable { let start: UnsafePointer<CChar> }

    private static let texts = Guarded<[String: Text]>([:])
    private static let isHeld = Atomic<Bool>(false)

    private static func immortal(_ text: String) -> UnsafePointer<CChar> {
        texts.withLock { known in
            if let text = known[text] { return text }
            let bytes = Array(text.utf8CString)
            let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
            copy.initialize(from: bytes, count: bytes.count)
            known[text] = Text(start: UnsafePointer(copy))
            return Text(start: UnsafePointer(copy))
        }.start
    }

    /// Notes that the calling thread enters a callback; the place to `leave`.
    static func enter(_ names: Names, _ callback: StaticString, step: Int?) -> Int32 {
        callback.utf8Start.withMemoryRebound(to: CChar.self, capacity: callback.utf8CodeUnitCount) {
            cs_enter(names.component, names.path, $0, Int64(step ?? -1))
        }
    }

    /// Notes that the callback has returned.
    ///
    /// While the calls are held this does not return.
    static func leave(_ place: Int32) {
        cs_leave(place)
        while isHeld.load(ordering: .sequentiallyConsistent) { usleep(10_000) }
    }

    /// All of this moment.
    package static var list: [ActiveCall] {
        (0..<Int32(CS_PLACES)).compactMap { place in
            var call = cs_call()
            guard cs_look(place, &call) else { return nil }
            return ActiveCall(
                entry: call.entry, component: String(cString: call.component),
                path: String(cString: call.path), callback: String(cString: call.callback),
                step: call.step < 0 ? nil : Int(call.step))
        }
    }

    /// Holds the thread of a callback where it is, should the callback return after all.
    ///
    /// What that thread owns can then be read: it will not go on.
    ///
    /// - Returns: false when the callback had returned; nothing is held then.
    package static func hold(_ call: ActiveCall) -> Bool {
        isHeld.store(true, ordering: .sequentiallyConsistent)
        if list.contains(where: { $0.entry == call.entry }) { return true }
        isHeld.store(false, ordering: .sequentiallyConsistent)
        return false
    }

    /// From now on a fault (SIGSEGV and its like) names the component at work before the process dies of it.
    package static func nameFaults() { cs_name_faults() }

    /// What the process advises when it dies of a fault.
    package static func advise(_ text: String) { cs_set_advice(text) }
}
